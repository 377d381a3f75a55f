"""Top-1 and Top-5: every image once, at any number of ranks; ties and NaN never help."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from vitmodels.device.runtime import Group, Rank, read_rank
from vitmodels.errors import DataError
from vitmodels.images.batches import EvalSlice, Slicing
from vitmodels.images.data import Request
from vitmodels.training.scoring import hits, score


class OneRank(Group):
    """A rank among others whose sums are made by the test."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank = Rank(rank, size)
        self.size = size
        self._reduce = None


class Sums(OneRank):
    """Remembers how many numbers each sum had."""

    def __init__(self, rank: int, size: int) -> None:
        super().__init__(rank, size)
        self.lengths: list[int] = []

    def sum(self, values: np.ndarray) -> np.ndarray:
        self.lengths.append(len(values))
        return super().sum(values)


class Numbers:
    """Images whose pixels are their own index; image 4 is unreadable when asked for."""

    def __init__(self, count: int, broken: int = -1) -> None:
        self.labels = np.arange(count) % 7
        self.broken = broken

    def __len__(self) -> int:
        return len(self.labels)

    def stream(self, requests: Iterable[Request]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for request in requests:
            used = np.where(request.indices == self.broken, -1, request.indices)
            yield np.broadcast_to(request.indices[:, None, None, None], (len(used), 1, 1, 3)), used

    def close(self) -> None: ...


def predict(images: np.ndarray) -> np.ndarray:
    """Right for the even indices, second best for the odd ones."""
    index = images[:, 0, 0, 0]
    logits = np.zeros((len(index), 7), np.float32)
    logits[np.arange(len(index)), index % 7] = 1.0
    odd = index % 2 == 1
    logits[np.flatnonzero(odd), (index[odd] + 1) % 7] = 2.0
    return logits


@pytest.mark.parametrize("count", [1, 7, 50, 101])
@pytest.mark.parametrize("batch", [1, 8, 200])
@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_every_image_counts_once(count: int, batch: int, ranks: int) -> None:
    found = [score(predict, Numbers(count), batch, OneRank(rank, ranks)) for rank in range(ranks)]
    assert sum(one.images for one in found) == count
    right = sum(round(one.top1 * one.images) for one in found)
    assert right == (count + 1) // 2
    assert all(one.top5 == 1 for one in found if one.images)
    indices = [
        index
        for rank in range(ranks)
        for request, real in EvalSlice(count, batch, rank, ranks).batches()
        for index in request.indices[:real]
    ]
    assert sorted(indices) == list(range(count))


def test_an_unreadable_image_is_a_miss() -> None:
    assert score(predict, Numbers(10, broken=4), 4, OneRank(0, 1)).top1 == 0.4
    assert score(predict, Numbers(10, broken=4), 4, OneRank(0, 1)).top5 == 0.9


@pytest.mark.parametrize(("broken", "lengths"), [(-1, [4]), (4, [4, 10, 2])])
def test_no_rank_ends_after_a_large_sum(broken: int, lengths: list[int]) -> None:
    ranks = Sums(0, 2)
    score(predict, Numbers(10, broken), 4, ranks)
    assert ranks.lengths == lengths


def test_ties_and_nan_do_not_count() -> None:
    logits = np.array([[1, 1, 0], [np.nan, 0, 0], [0, 2, 1], [5, 0, 0]], np.float32)
    assert hits(logits, np.array([0, 0, 2, 0]), 1) == 1
    assert hits(logits, np.array([0, 0, 2, 0]), 2) == 3


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_cut_the_same_global_batch(ranks: int) -> None:
    whole = Slicing(100, 8, 0, 1, 2)
    parts = [Slicing(100, 8 // ranks, rank, ranks, 2) for rank in range(ranks)]
    assert all(part.steps == whole.steps == 6 for part in parts)
    for step in range(6):
        for micro in range(2):
            joined = np.concatenate([part.positions(step, micro) for part in parts])
            np.testing.assert_array_equal(joined, whole.positions(step, micro))
    assert len({int(p) for s in range(6) for m in range(2) for p in whole.positions(s, m)}) == 96


def test_too_few_images_are_an_error() -> None:
    with pytest.raises(DataError, match="do not fill one global batch of 16"):
        Slicing(15, 8, 0, 2).check()


def test_the_environment_names_the_rank() -> None:
    assert read_rank({}) == Rank(0, 1, 0, False)
    assert read_rank({"RANK_ID": "3", "RANK_SIZE": "8", "DEVICE_ID": "1"}) == Rank(3, 8, 1, False)
    assert read_rank({"MS_ROLE": "MS_SCHED"}).scheduler
    for env in ({"RANK_ID": "x"}, {"RANK_ID": "2", "RANK_SIZE": "2"}):
        with pytest.raises(Exception, match="RANK_ID"):
            read_rank(env)
