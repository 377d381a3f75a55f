"""Our own operators for training and evaluation on CPU, in C++, compiled where they are used.

MindSpore's CPU operators are fast at large matrix products and slow at most other operators of TNT. `library`
compiles and loads the sources in this folder, `operators` makes them MindSpore operators with gradients, `layers`
builds layers from these. `nets.layers.choice` decides which nets use them.
"""
