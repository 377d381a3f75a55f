"""Our own operators for training and evaluation on CPU, in C++, compiled where they are used.

MindSpore's CPU operators are good at large matrix products, and far from what the machine can do at everything
else TNT is made of. `library` compiles and loads the sources that stand here, `operators` makes them MindSpore
operators with gradients. Whether they are used is decided in `vitmodels.device.compat`.
"""
