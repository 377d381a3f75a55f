"""The class token and the positions of the patch tokens."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, nn, ops


class AddClassToken(nn.Cell):
    """Puts the class token before the patches of each sample and adds the positions."""

    def __init__(self, patches: int, dim: int) -> None:
        super().__init__()
        self.flat = (-1, (patches + 1) * dim)
        self.rows = (-1, dim)
        self.no_patches = Tensor(np.zeros((1, patches, dim), np.float32))
        self.shift = PrependZeros()
        self.concat = ops.Concat(axis=1)
        self.bias_add = ops.BiasAdd()

    def construct(self, x: Tensor, cls_token: Tensor, positions: Tensor) -> Tensor:
        """(B, N, dim), (1, 1, dim), (1, N+1, dim) -> (B*(N+1), dim)."""
        offset = positions + self.concat((cls_token, self.no_patches))  # (1, N+1, dim)
        x = self.shift(x).reshape(self.flat)  # (B, (N+1)*dim), zeros in the place of the class token
        x = self.bias_add(x, offset.reshape(-1).astype(x.dtype))
        return x.reshape(self.rows)


class PrependZeros(nn.Cell):
    """(B, N, dim) -> (B, N+1, dim) with a zero token in front."""

    def __init__(self) -> None:
        super().__init__()
        self.concat = ops.Concat(axis=1)

    def construct(self, x: Tensor) -> Tensor:
        return self.concat((ops.zeros_like(x[:, :1]), x))
