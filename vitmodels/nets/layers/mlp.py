"""The two-layer perceptron of a transformer block."""

from __future__ import annotations

from mindspore import Tensor, nn

from vitmodels.device.compat import compiled_kernels
from vitmodels.device.kernels import operators
from vitmodels.nets.layers.gelu import gelu
from vitmodels.nets.layers.linear import Linear
from vitmodels.nets.layers.stochastic import Dropout, MaskLayout


class Mlp(nn.Cell):
    """dim -> hidden -> GELU -> dim over rows; `rows` is the number of tokens a sample has.

    One compiled operator on CPU, when nothing is dropped in between.
    """

    def __init__(self, dim: int, hidden: int, rows: int, drop: float, layout: MaskLayout) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden)
        self.act = gelu()
        self.drop1 = Dropout(drop, layout, rows, hidden)
        self.fc2 = Linear(hidden, dim)
        self.drop2 = Dropout(drop, layout, rows, dim)
        self.uses_kernel = drop == 0 and compiled_kernels()
        if self.uses_kernel:
            self.kernel = operators.mlp()

    def construct(self, x: Tensor, masks: Tensor | None = None) -> Tensor:  # (rows, dim)
        if self.uses_kernel:
            one, two = self.fc1, self.fc2
            return self.kernel(x, one.weight, one.bias, two.weight, two.bias)[0]
        x = self.drop1(self.act(self.fc1(x)), masks)  # (rows, hidden)
        return self.drop2(self.fc2(x), masks)  # (rows, dim)
