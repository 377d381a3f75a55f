"""TNT's stem: every patch becomes a small image of pixel tokens."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, nn, ops

from vitmodels.archs import ModelConfig
from vitmodels.nets.layers.convolution import ConvolutionWeights
from vitmodels.nets.layers.patches import CutPatches

KERNEL = 7
PADDING = 3


def tap_index(patch_size: int, stride: int) -> np.ndarray:
    """Which tap of the kernel joins input (channel, y, x) of a patch to each output pixel.

    int32 (3 * p * p, pixels); 3 * 49, one past the last tap, where none does.
    """
    side = -(-patch_size // stride)
    none = 3 * KERNEL * KERNEL
    index = np.full((3, patch_size, patch_size, side, side), none, np.int32)
    channel = np.arange(3) * KERNEL * KERNEL
    for y, x, row, column in np.ndindex(patch_size, patch_size, side, side):
        ky, kx = y + PADDING - row * stride, x + PADDING - column * stride
        if 0 <= ky < KERNEL and 0 <= kx < KERNEL:
            index[:, y, x, row, column] = channel + ky * KERNEL + kx
    return index.reshape(3 * patch_size**2, side * side)


class PixelEmbed(nn.Cell):
    """Cuts the image into patches and convolves (7x7, zero padding 3) each patch by itself.

    A patch is so small that the convolution is one matrix product with the kernel written out for every pair
    of input and output pixel: on CPU, twenty times faster than convolving thousands of tiny images.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        inner, pixels = config.inner_dim, config.pixels
        self.cut = CutPatches(config.grid, config.patch_size)
        self.proj = ConvolutionWeights(3, inner, KERNEL)
        self.no_tap = Tensor(np.zeros((1, inner), np.float32))
        self.index = Tensor(tap_index(config.patch_size, config.pixel_stride).reshape(-1))
        self.matrix = (3 * config.patch_size**2, pixels * inner)
        self.positions = (inner, pixels)
        self.rows = (-1, inner)
        self.concat = ops.Concat(axis=0)
        self.gather = ops.Gather()
        self.transpose = ops.Transpose()
        self.matmul = ops.MatMul()
        self.bias_add = ops.BiasAdd()

    def construct(self, images: Tensor, pixel_pos: Tensor) -> Tensor:  # (B, 3, H, W), (1, c, h, w)
        weight, bias = self.proj()  # (c, 147), (c,)
        taps = self.concat((self.transpose(weight, (1, 0)), self.no_tap))  # (148, c)
        matrix = self.gather(taps, self.index, 0).reshape(self.matrix)  # (3*p*p, M*c), M = h*w pixels
        offset = self.transpose(pixel_pos.reshape(self.positions), (1, 0)) + bias  # (M, c)
        x = self.matmul(self.cut(images), matrix)  # (B*N, M*c)
        return self.bias_add(x, offset.reshape(-1)).reshape(self.rows)  # (B*N*M, c)
