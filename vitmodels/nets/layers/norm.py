"""LayerNorm with PyTorch's parameter names."""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, nn, ops


class LayerNorm(nn.Cell):
    """Normalises the last axis of (rows, dim)."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = Parameter(Tensor(np.ones(dim, np.float32)), name="weight")
        self.bias = Parameter(Tensor(np.zeros(dim, np.float32)), name="bias")
        self.norm = ops.LayerNorm(begin_norm_axis=-1, begin_params_axis=-1, epsilon=eps)

    def construct(self, x: Tensor) -> Tensor:
        return self.norm(x, self.weight, self.bias)[0]
