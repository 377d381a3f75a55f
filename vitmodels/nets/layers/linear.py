"""A dense layer over rows."""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from vitmodels.device.compat import compiled_kernels
from vitmodels.device.kernels import operators


class Linear(nn.Cell):
    """`x @ weight.T + bias` for x of shape (rows, in_features).

    One compiled operator on CPU, else one MatMul and one BiasAdd, which is several times faster there than
    `ops.dense` or a broadcast addition.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = Parameter(Tensor(np.zeros((out_features, in_features), np.float32)), name="weight")
        self.bias = Parameter(Tensor(np.zeros(out_features, np.float32)), name="bias") if bias else None
        self.uses_kernel = compiled_kernels()
        if self.uses_kernel:
            self.kernel = operators.linear() if bias else operators.product()
        self.matmul = ops.MatMul(transpose_b=True)
        self.bias_add = ops.BiasAdd()

    def construct(self, x: Tensor) -> Tensor:
        if self.uses_kernel:
            if self.bias is None:
                return self.kernel(x, self.weight)
            return self.kernel(x, self.weight, self.bias)
        x = self.matmul(x, self.weight)  # (rows, out_features)
        if self.bias is not None:
            x = self.bias_add(x, self.bias)
        return x
