"""From bytes to a net's input, inside of the compiled graph."""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from vitmodels.nets.layers.choice import best_operators


class Normalise(nn.Cell):
    """uint8 (B, H, W, 3) to float32 (B, 3, H, W), mixed with the neighbour when `lam` and `box` are given."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.scale = Tensor(1.0 / (255.0 * np.array(std)), ms.float32)
        self.offset = Tensor(-np.array(mean) / np.array(std), ms.float32)

    def construct(self, images: Tensor, lam: Tensor | None = None, box: Tensor | None = None) -> Tensor:
        x = (images.astype(ms.float32) * self.scale + self.offset).transpose(0, 3, 1, 2)  # (B, 3, H, W)
        return x if lam is None else mix_images(x, lam, box)


def mix_images(images: Tensor, lam: Tensor, box: Tensor) -> Tensor:
    """Images (B, 3, H, W), B even, each mixed with its neighbour as `images.mixing.Mix` says; lam (B,), box (B, 4)."""
    batch, channels, height, width = images.shape
    pairs = images.reshape(batch // 2, 2, channels * height * width)
    swapped = ops.concat((pairs[:, 1:2], pairs[:, 0:1]), 1).reshape(images.shape)
    rows = ops.arange(height).reshape(1, height, 1)
    columns = ops.arange(width).reshape(1, 1, width)
    top, bottom = box[:, 0].reshape(-1, 1, 1), box[:, 1].reshape(-1, 1, 1)
    left, right = box[:, 2].reshape(-1, 1, 1), box[:, 3].reshape(-1, 1, 1)
    inside = ops.logical_and(
        ops.logical_and(rows >= top, rows < bottom), ops.logical_and(columns >= left, columns < right)
    ).astype(images.dtype)  # (B, H, W)
    weight = (lam.reshape(-1, 1, 1).astype(images.dtype) * (1.0 - inside)).reshape(batch, 1, height, width)
    return images * weight + swapped * (1.0 - weight)


def normalise_layer(mean: Sequence[float], std: Sequence[float]) -> nn.Cell:
    """`Normalise` with the device's best operators. It computes in float32 at any precision of the net."""
    if best_operators() == "mindspore":
        return Normalise(mean, std)
    from vitmodels.device.kernels import layers as compiled

    return compiled.Normalise(mean, std)


class PixelsToLogits(nn.Cell):
    """uint8 images (B, H, W, 3) to float32 logits (B, classes), one compiled shape."""

    def __init__(self, model: nn.Cell, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        self.normalise = normalise_layer(mean, std)

    def construct(self, images: Tensor) -> Tensor:
        return self.model(self.normalise(images)).astype(ms.float32)
