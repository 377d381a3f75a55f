"""Mixed precision: which cells of a net compute in 16 bits. Parameters, checkpoints and the loss stay float32.

    O0    nothing
    O1    the matrix products of the linear layers, in float16
    O2    everything but the normalisations, in float16 (the TNT README's level)
    O3    everything, in float16
    bf16  as O2 in bfloat16, whose range is that of float32, so that no loss scale is needed
    auto  O2 on Ascend, O0 on CPU: float16 where it is faster

On CPU float16 is slower than float32 (measured: 1.5 to 4 times). MindSpore's CPU operators have no products of bfloat16: there
bf16 rounds what goes into each matrix product and what comes out, forward and backward, and all arithmetic is float32. So the
accuracy of a recipe can be tried on CPU, not its speed.
"""

from __future__ import annotations

from mindspore import Tensor, dtype, nn, ops

from vitmodels.device.compat import on_ascend
from vitmodels.nets.layers.linear import Linear
from vitmodels.nets.layers.norm import LayerNorm


def level_here(level: str) -> str:
    """The level that `auto` stands for on this device; any other level is itself."""
    if level != "auto":
        return level
    return "O2" if on_ascend() else "O0"


def needs_loss_scale(level: str) -> bool:
    """Whether gradients of this level can leave the range of their type."""
    return level_here(level) not in ("O0", "bf16")


def set_precision(model: nn.Cell, level: str) -> None:
    """Set the precision of the cells of `model`, whose operators are MindSpore's unless the level is O0.

    Call it before the model is compiled.
    """
    if level == "O0":
        return
    assert model.operators == "mindspore", "the compiled operators take float32 only"
    if level == "bf16" and not on_ascend():
        _round_products(model)
        return
    if level in ("O2", "O3", "bf16"):
        model.to_float(dtype.bfloat16 if level == "bf16" else dtype.float16)
    for _, cell in model.cells_and_names():
        if level == "O1" and isinstance(cell, Linear):
            cell.to_float(dtype.float16)
        if level in ("O2", "bf16") and isinstance(cell, LayerNorm):
            cell.to_float(dtype.float32)


class RoundedProduct(nn.Cell):
    """A matrix product of float32 numbers that are rounded to bfloat16, as its result and its gradients are."""

    def __init__(self, product: ops.Primitive) -> None:
        super().__init__()
        self.product = product

    def construct(self, a: Tensor, b: Tensor) -> Tensor:
        return self.rounded(self.product(self.rounded(a), self.rounded(b)))

    def rounded(self, x: Tensor) -> Tensor:
        """The nearest bfloat16, as float32."""
        return ops.cast(ops.cast(x, dtype.bfloat16), dtype.float32)


def _round_products(model: nn.Cell) -> None:
    """Put a `RoundedProduct` in the place of every matrix product of the net."""
    for _, cell in list(model.cells_and_names()):
        for name, value in list(vars(cell).items()):
            if isinstance(value, (ops.MatMul, ops.BatchMatMul)):
                delattr(cell, name)
                setattr(cell, name, RoundedProduct(value))
