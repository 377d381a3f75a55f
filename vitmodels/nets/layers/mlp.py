"""The two-layer perceptron of a transformer block."""

from __future__ import annotations

from mindspore import Tensor, nn

from vitmodels.device.stochastic import Dropout, MaskLayout
from vitmodels.nets.layers.gelu import gelu
from vitmodels.nets.layers.linear import Linear


class Mlp(nn.Cell):
    """dim -> hidden -> GELU -> dim over rows; `rows` is the number of tokens a sample has."""

    def __init__(self, dim: int, hidden: int, rows: int, drop: float, layout: MaskLayout) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden)
        self.act = gelu()
        self.drop1 = Dropout(drop, layout, rows, hidden)
        self.fc2 = Linear(hidden, dim)
        self.drop2 = Dropout(drop, layout, rows, dim)

    def construct(self, x: Tensor, masks: Tensor | None = None) -> Tensor:  # (rows, dim)
        x = self.drop1(self.act(self.fc1(x)), masks)  # (rows, hidden)
        return self.drop2(self.fc2(x), masks)  # (rows, dim)
