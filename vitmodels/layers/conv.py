"""A convolution with PyTorch's parameter names."""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, nn, ops


class Conv(nn.Cell):
    """Convolution of NCHW images with a square kernel, zero padding and a bias."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, padding: int = 0
    ) -> None:
        super().__init__()
        weight = np.zeros((out_channels, in_channels, kernel, kernel), np.float32)
        self.weight = Parameter(Tensor(weight), name="weight")
        self.bias = Parameter(Tensor(np.zeros(out_channels, np.float32)), name="bias")
        self.conv = ops.Conv2D(
            out_channels, (kernel, kernel), pad_mode="pad", pad=(padding,) * 4, stride=(stride, stride)
        )
        self.bias_add = ops.BiasAdd()

    def construct(self, x: Tensor) -> Tensor:  # (B, in_channels, H, W)
        return self.bias_add(self.conv(x, self.weight), self.bias)  # (B, out_channels, H', W')
