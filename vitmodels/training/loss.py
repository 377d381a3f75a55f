"""The traced arithmetic around the model: mixing pixels, and soft-target cross entropy."""

from __future__ import annotations

from mindspore import Tensor, ops


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over the batch of -sum(targets * log_softmax(logits)); both (B, classes)."""
    log_p = ops.log_softmax(logits, -1)
    return -(targets * log_p).sum(axis=-1).mean()


def mix_images(images: Tensor, lam: Tensor, box: Tensor) -> Tensor:
    """Images (B, 3, H, W) mixed with the neighbour; lam (B,), box (B, 4)."""
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
