"""An image cut into square patches, one row each."""

from __future__ import annotations

from mindspore import Tensor, nn, ops


class CutPatches(nn.Cell):
    """(B, 3, H, W) to (B*N, 3*p*p), a row being one patch as (channel, y, x)."""

    def __init__(self, grid: int, patch_size: int) -> None:
        super().__init__()
        self.cut = (-1, 3, grid, patch_size, grid, patch_size)
        self.rows = (-1, 3 * patch_size * patch_size)
        self.transpose = ops.Transpose()

    def construct(self, images: Tensor) -> Tensor:  # (B, 3, H, W)
        x = self.transpose(images.reshape(self.cut), (0, 2, 4, 1, 3, 5))  # (B, H/p, W/p, 3, p, p)
        return x.reshape(self.rows)  # (B*N, 3*p*p)
