"""The weight and bias of a convolution, for layers that apply it as a matrix product."""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, nn, ops


class ConvolutionWeights(nn.Cell):
    """Holds `weight` (out, in, k, k) and `bias` (out,) under the names of a PyTorch convolution.

    Set `frozen` before the net is compiled: the gradients of both are then zero.
    """

    frozen = False

    def __init__(self, in_channels: int, out_channels: int, size: int) -> None:
        super().__init__()
        weight = np.zeros((out_channels, in_channels, size, size), np.float32)
        self.weight = Parameter(Tensor(weight), name="weight")
        self.bias = Parameter(Tensor(np.zeros(out_channels, np.float32)), name="bias")

    def construct(self) -> tuple[Tensor, Tensor]:
        weight, bias = self.weight.reshape((self.weight.shape[0], -1)), self.bias  # (out, in*k*k), (out,)
        return (ops.stop_gradient(weight), ops.stop_gradient(bias)) if self.frozen else (weight, bias)
