"""ViT's stem: an image becomes one token for each patch."""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from vitmodels.layers.conv import Conv


class PatchEmbed(nn.Cell):
    """A convolution whose kernel and stride are the patch."""

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.proj = Conv(3, dim, patch_size, patch_size)
        self.transpose = ops.Transpose()

    def construct(self, images: Tensor) -> Tensor:  # (B, 3, H, W)
        x = self.proj(images)  # (B, dim, H/p, W/p)
        x = x.reshape(x.shape[0], self.dim, -1)  # (B, dim, N)
        return self.transpose(x, (0, 2, 1))  # (B, N, dim)
