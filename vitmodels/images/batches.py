"""Which images each rank reads at each step, and the arrays of one step.

The order of an epoch is a permutation drawn from (seed, epoch). Step s takes the next global batch of
batch_size x ranks x accumulate images; each rank takes its slice. Every rank makes the same number of steps, and
what happens to an image depends on its position in the epoch, not on the rank that reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vitmodels.config import Recipe, steps_per_epoch
from vitmodels.device.rng import Stream, permutation, uniforms
from vitmodels.errors import DataError
from vitmodels.images.data import Request
from vitmodels.images.mixing import Mix, draw_mix, mix_targets, smooth_targets


class Images(Protocol):
    """A source of pixels: `data.MemoryImages` or `workers.FileImages`."""

    labels: np.ndarray

    def __len__(self) -> int: ...

    def stream(self, requests: Iterable[Request]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(uint8 (B, H, W, 3), indices used) of every request, in order; valid until the next one."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Batch:
    """The arrays of one micro-batch of one rank."""

    images: np.ndarray  # uint8 (B, H, W, 3)
    targets: np.ndarray  # float32 (B, classes)
    mix: Mix | None
    masks: np.ndarray | None  # float32, uniform [0, 1), for stochastic depth and dropout


@dataclass(frozen=True)
class Slicing:
    """The arithmetic of positions: how a global batch is divided.

    With several `parts`, each of as many equal groups of ranks has a part of the images; `images` is the smallest part's count.
    """

    images: int
    batch: int
    rank: int
    ranks: int
    accumulate: int = 1
    parts: int = 1

    @property
    def part(self) -> int:
        """The part of this rank: groups of ranks follow each other, as machines do."""
        return self.rank * self.parts // self.ranks

    @property
    def steps(self) -> int:
        """Updates per epoch."""
        return steps_per_epoch(self.images, self.batch * self.accumulate, self.ranks // self.parts)

    def check(self) -> None:
        """Raises DataError when there are fewer images than one global batch."""
        if self.steps < 1:
            total = self.batch * self.accumulate * self.ranks // self.parts
            raise DataError(
                f"{self.images} training images do not fill one global batch of {total}",
                hint="lower batch_size",
            )

    def positions(self, step: int, micro: int) -> np.ndarray:
        """Positions in the epoch that this rank reads at (step, micro), int64 (batch,)."""
        return self._slice(step, micro, self.rank, self.ranks)

    def places(self, step: int, micro: int) -> np.ndarray:
        """The same images as places in the order of this rank's part; without parts they are the positions."""
        group = self.ranks // self.parts
        return self._slice(step, micro, self.rank % group, group)

    def _slice(self, step: int, micro: int, rank: int, ranks: int) -> np.ndarray:
        begin = ((step * self.accumulate + micro) * ranks + rank) * self.batch
        return np.arange(begin, begin + self.batch)


class Batches:
    """Batches of one rank, from any step on."""

    def __init__(self, source: Images, recipe: Recipe, slicing: Slicing, side: int, mask_width: int) -> None:
        slicing.check()
        self.source = source
        self.recipe = recipe
        self.slicing = slicing
        self.side = side
        self.mask_width = mask_width

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[list[Batch]]:
        """The micro-batches of every step of `epoch` (counted from 0), beginning at `first_step`."""
        slicing = self.slicing
        order = permutation(self.recipe.seed, epoch, len(self.source), slicing.part)
        micro_steps = [
            (step, micro) for step in range(first_step, slicing.steps) for micro in range(slicing.accumulate)
        ]
        stream = self.source.stream(
            Request(order[slicing.places(*each)], slicing.positions(*each), epoch) for each in micro_steps
        )
        micros: list[Batch] = []
        for (step, micro), (images, indices) in zip(micro_steps, stream, strict=True):
            positions = slicing.positions(step, micro)
            # with several micro-batches a step, the source reuses its memory before the step is complete
            pixels = images.copy() if slicing.accumulate > 1 else images
            micros.append(self._batch(epoch, step, positions, pixels, indices))
            if len(micros) == slicing.accumulate:
                yield micros
                micros = []

    def _batch(
        self, epoch: int, step: int, positions: np.ndarray, images: np.ndarray, indices: np.ndarray
    ) -> Batch:
        recipe = self.recipe
        targets = smooth_targets(self.source.labels[indices], recipe.num_classes, recipe.label_smoothing)
        mix = None
        if recipe.mixes:
            mix = draw_mix(recipe, epoch * self.slicing.steps + step, positions, self.side)
            targets = mix_targets(targets, mix.share)
        masks = None
        if self.mask_width:
            masks = uniforms(recipe.seed, Stream.MASK, epoch, positions, self.mask_width)
        return Batch(images, targets, mix, masks)


@dataclass(frozen=True)
class EvalSlice:
    """The part of a validation set that one rank counts: batches of one size, the last one padded."""

    images: int
    batch: int
    rank: int
    ranks: int

    def batches(self) -> Iterator[tuple[Request, int]]:
        """(request, how many of its images count); padding repeats the first image. Ranks differ by at most one image."""
        begin = self.images * self.rank // self.ranks
        end = self.images * (self.rank + 1) // self.ranks
        for start in range(begin, end, self.batch):
            real = np.arange(start, min(start + self.batch, end))
            padding = np.zeros(self.batch - len(real), np.int64)
            yield Request(np.concatenate([real, padding]), np.zeros(self.batch, np.int64), None), len(real)
