"""Cross entropy with soft targets."""

from __future__ import annotations

from mindspore import Tensor, ops


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over the batch of -sum(targets * log_softmax(logits)); both (B, classes)."""
    log_p = ops.log_softmax(logits, -1)
    return -(targets * log_p).sum(axis=-1).mean()
