"""Top-1 and Top-5 over a whole validation set, each image counted once at any number of ranks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vitmodels.accuracy import hits
from vitmodels.device.runtime import Group
from vitmodels.images.account import Account
from vitmodels.images.batches import EvalSlice, Images
from vitmodels.images.data import ImageFolder

Predict = Callable[[np.ndarray], np.ndarray]  # uint8 (B, H, W, 3) -> logits (B, classes)


@dataclass(frozen=True)
class Score:
    """Shares of images whose label is the first, or among the first five, of the logits. `images` counts unreadable ones."""

    top1: float
    top5: float
    images: int
    unreadable: int
    seconds: float
    unreadable_images: tuple[int, ...] = ()  # their numbers

    def as_dict(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "unreadable_images"}


def score_facts(result: Score, folder: ImageFolder, account: Account) -> dict[str, Any]:
    """What a result file says of a score and of the images behind it."""
    return {
        **result.as_dict(),
        "unreadable_files": [folder.files[index] for index in result.unreadable_images],
        "data": account.as_dict(),
        "classes": list(account.matching.names),
    }


def score(predict: Predict, source: Images, batch: int, group: Group) -> Score:
    """Evaluate every image of `source`, spread over the ranks of `group`."""
    begin = time.monotonic()
    counts = np.zeros(4, np.int64)
    bad = np.zeros(len(source), np.int64)
    plan = list(EvalSlice(len(source), batch, group.rank.id, group.size).batches())
    stream = source.stream(request for request, _ in plan)
    for (request, real), (pixels, used) in zip(plan, stream, strict=True):
        logits = predict(pixels)[:real]
        labels = source.labels[request.indices[:real]]
        logits[used[:real] < 0] = np.nan  # an unreadable image is a miss
        unreadable = int((used[:real] < 0).sum())
        bad[request.indices[:real][used[:real] < 0]] = 1
        counts += (hits(logits, labels, 1), hits(logits, labels, 5), real, unreadable)
    first, five, images, unreadable = (round(value) for value in group.sum(counts).tolist())
    numbers: list[int] = []
    if unreadable:  # of all ranks, so all of them do this
        numbers = np.flatnonzero(group.sum(bad)).tolist()
        group.settle()
    seconds = round(time.monotonic() - begin, 3)
    return Score(
        first / max(1, images),
        five / max(1, images),
        images,
        unreadable,
        seconds,
        tuple(numbers),
    )
