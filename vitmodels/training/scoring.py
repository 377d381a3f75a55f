"""Top-1 and Top-5 over a whole validation set, each image counted once at any number of ranks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vitmodels.device.runtime import Group
from vitmodels.images.batches import EvalSlice, Images

Predict = Callable[[np.ndarray], np.ndarray]  # uint8 (B, H, W, 3) -> logits (B, classes)


@dataclass(frozen=True)
class Score:
    """Shares of images whose label is the first, or among the first five, of the logits."""

    top1: float
    top5: float
    images: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def hits(logits: np.ndarray, labels: np.ndarray, k: int) -> int:
    """How many labels are among the k largest logits; a tie is a miss, and so is NaN."""
    own = logits[np.arange(len(labels)), labels][:, None]
    above = (logits >= own).sum(axis=1)  # counts itself
    return int((np.isfinite(own[:, 0]) & (above <= k)).sum())


def score(predict: Predict, source: Images, batch: int, group: Group) -> Score:
    """Evaluate every image of `source`, spread over the ranks of `group`."""
    begin = time.monotonic()
    counts = np.zeros(3, np.int64)
    plan = list(EvalSlice(len(source), batch, group.rank.id, group.size).batches())
    stream = source.stream(request for request, _ in plan)
    for (request, real), (pixels, used) in zip(plan, stream, strict=True):
        logits = predict(pixels)[:real]
        labels = source.labels[request.indices[:real]]
        logits[used[:real] < 0] = np.nan  # an unreadable image is a miss
        counts += (hits(logits, labels, 1), hits(logits, labels, min(5, logits.shape[1])), real)
    first, five, images = (round(value) for value in group.sum(counts).tolist())
    seconds = round(time.monotonic() - begin, 3)
    return Score(first / max(1, images), five / max(1, images), images, seconds)
