"""Latencies of any number of images in a few kilobytes."""

from __future__ import annotations

import math

import numpy as np

SHORTEST_S, LONGEST_S = 1e-7, 1e5
RATIO = 1.002  # of the ends of an interval: a percentile is right to a thousandth
INTERVALS = math.ceil(math.log(LONGEST_S / SHORTEST_S) / math.log(RATIO))


class Latencies:
    """Counts of seconds an image, by intervals whose ends have one ratio; the sum and the extremes are exact."""

    def __init__(self) -> None:
        self._counts = np.zeros(INTERVALS, np.int64)
        self._sum = 0.0
        self._least, self._most = math.inf, 0.0

    def add(self, seconds: float, images: int) -> None:
        """`images` that took `seconds` each."""
        interval = int(math.log(max(seconds, SHORTEST_S) / SHORTEST_S) / math.log(RATIO))
        self._counts[min(interval, INTERVALS - 1)] += images
        self._sum += seconds * images
        self._least, self._most = min(self._least, seconds), max(self._most, seconds)

    @property
    def mean(self) -> float:
        """Seconds; there must be an image."""
        return self._sum / int(self._counts.sum())

    def percentile(self, percent: float) -> float:
        """The seconds that `percent` of the images need at most."""
        total = self._counts.cumsum()
        interval = int(np.searchsorted(total, math.ceil(total[-1] * percent / 100)))
        middle = SHORTEST_S * RATIO ** (interval + 0.5)
        return min(max(middle, self._least), self._most)
