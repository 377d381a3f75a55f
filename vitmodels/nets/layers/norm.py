"""LayerNorm with PyTorch's parameter names."""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from vitmodels.device.compat import compiled_kernels
from vitmodels.device.kernels import operators


class LayerNorm(nn.Cell):
    """Normalises the last axis of (rows, dim).

    Where it is not compiled, the gradient is MindSpore's: one composed of fast operators won alone, but in a whole
    step it cost more memory, more compile time and, on a busy machine, more time.
    """

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = Parameter(Tensor(np.ones(dim, np.float32)), name="weight")
        self.bias = Parameter(Tensor(np.zeros(dim, np.float32)), name="bias")
        self.uses_kernel = compiled_kernels()
        if self.uses_kernel:
            self.kernel = operators.layer_norm()
            self.eps = Tensor(np.array([eps], np.float32))
        self.norm = ops.LayerNorm(begin_norm_axis=-1, begin_params_axis=-1, epsilon=eps)

    def construct(self, x: Tensor) -> Tensor:
        if self.uses_kernel:
            return self.kernel(x, self.weight, self.bias, self.eps)
        return self.norm(x, self.weight, self.bias)[0]
