"""TNT's stem: every patch becomes a small image of pixel tokens."""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from vitmodels.archs import ModelConfig
from vitmodels.layers.conv import Conv


class PixelEmbed(nn.Cell):
    """Cuts the image into patches, then convolves (7x7, zero padding 3) each patch by itself."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        patch, grid = config.patch_size, config.grid
        self.cut = (-1, 3, grid, patch, grid, patch)
        self.patches = (-1, 3, patch, patch)
        self.flat = (-1, config.inner_dim * config.pixels)
        self.channels_first = (-1, config.inner_dim, config.pixels)
        self.rows = (-1, config.inner_dim)
        self.proj = Conv(3, config.inner_dim, 7, config.pixel_stride, padding=3)
        self.transpose = ops.Transpose()
        self.bias_add = ops.BiasAdd()

    def construct(self, images: Tensor, pixel_pos: Tensor) -> Tensor:  # (B, 3, H, W), (1, c, h, w)
        x = self.transpose(images.reshape(self.cut), (0, 2, 4, 1, 3, 5))  # (B, H/p, W/p, 3, p, p)
        x = self.proj(x.reshape(self.patches))  # (B*N, c, h, w)
        x = self.bias_add(x.reshape(self.flat), pixel_pos.reshape(-1))  # (B*N, c*h*w), position added
        x = self.transpose(x.reshape(self.channels_first), (0, 2, 1))  # (B*N, h*w, c)
        return x.reshape(self.rows)  # (B*N*M, c), M = h*w pixels
