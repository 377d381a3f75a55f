"""Mixed precision: which cells of a net compute in float16. Parameters and the loss stay float32.

    O0    nothing
    O1    the matrix products of the linear layers
    O2    everything but the normalisations (the TNT README's level)
    O3    everything
    auto  as O1

On CPU float16 runs, and is slower than float32 (measured 1.5 to 4 times).
"""

from __future__ import annotations

from mindspore import dtype, nn

from vitmodels.device.compat import compose

LINEAR = frozenset({"Linear"})
NORM = frozenset({"LayerNorm", "ThinProductNorm"})


def set_precision(model: nn.Cell, level: str) -> None:
    """Mark the cells of `model`; call before it is compiled."""
    if level == "O0":
        return
    compose(model)
    if level in ("O2", "O3"):
        model.to_float(dtype.float16)
    for _, cell in model.cells_and_names():
        kind = type(cell).__name__
        if level in ("O1", "auto") and kind in LINEAR:
            cell.to_float(dtype.float16)
        if level == "O2" and kind in NORM:
            cell.to_float(dtype.float32)
