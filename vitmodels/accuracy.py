"""What counts as a hit, the same in training, evaluation and inference."""

from __future__ import annotations

import numpy as np


def is_hit(logits: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Whether each label is among the k largest logits; a tie at the limit is a miss, and so is NaN."""
    own = logits[np.arange(len(labels)), labels][:, None]
    at_least = (logits >= own).sum(axis=1)  # counts itself
    return np.asarray(np.isfinite(own[:, 0]) & (at_least <= min(k, logits.shape[1])))


def hits(logits: np.ndarray, labels: np.ndarray, k: int) -> int:
    """How many labels are hits."""
    return int(is_hit(logits, labels, k).sum())
