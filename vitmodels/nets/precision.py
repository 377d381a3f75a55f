"""Mixed precision: which cells of a net compute in float16. Parameters and the loss stay float32.

    O0    nothing
    O1    the matrix products of the linear layers
    O2    everything but the normalisations (the TNT README's level)
    O3    everything
    auto  O2 on Ascend, O0 on CPU: float16 where it is faster

On CPU float16 is slower than float32 (measured: 1.5 to 4 times).
"""

from __future__ import annotations

from mindspore import dtype, nn

from vitmodels.device.compat import on_ascend
from vitmodels.nets.layers.linear import Linear
from vitmodels.nets.layers.norm import LayerNorm


def level_here(level: str) -> str:
    """The level that `auto` stands for on this device; any other level is itself."""
    if level != "auto":
        return level
    return "O2" if on_ascend() else "O0"


def set_precision(model: nn.Cell, level: str) -> None:
    """Set the precision of the cells of `model`, whose operators are MindSpore's unless the level is O0.

    Call it before the model is compiled.
    """
    if level == "O0":
        return
    assert model.operators == "mindspore", "the compiled operators take float32 only"
    if level in ("O2", "O3"):
        model.to_float(dtype.float16)
    for _, cell in model.cells_and_names():
        if level == "O1" and isinstance(cell, Linear):
            cell.to_float(dtype.float16)
        if level == "O2" and isinstance(cell, LayerNorm):
            cell.to_float(dtype.float32)
