"""Random numbers that depend on their purpose, not on earlier draws.

Every draw is a function of (seed, stream, step, position): a resumed run, or the same global batch
spread over another number of ranks, sees the same numbers. The generator is SplitMix64 in counter form
(Steele, Lea, Flood 2014), vectorised over positions. MindSpore's own generators can't be restored on CPU.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


class Stream(IntEnum):
    """The purpose of a number; two streams never share numbers."""

    ORDER = 1
    AUGMENT = 2
    ERASE = 3
    MIX = 4
    MASK = 5
    JITTER = 6


def _mix(value: int) -> int:
    """SplitMix64's finaliser on a Python integer."""
    value &= _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def _mix_array(value: np.ndarray) -> np.ndarray:
    """The same finaliser on a uint64 array (wraps around), in place."""
    value ^= value >> np.uint64(30)
    value *= np.uint64(0xBF58476D1CE4E5B9)
    value ^= value >> np.uint64(27)
    value *= np.uint64(0x94D049BB133111EB)
    value ^= value >> np.uint64(31)
    return value


def key_of(*parts: int) -> int:
    """One 64-bit key from several integers; the order matters."""
    key = 0
    for part in parts:
        key = _mix(key + _GOLDEN + part)
    return key


def uniforms(seed: int, stream: Stream, step: int, positions: np.ndarray, width: int) -> np.ndarray:
    """float32 numbers in [0, 1), shape (len(positions), width); row i belongs to global position i alone."""
    rows = _mix_array(np.asarray(positions).astype(np.uint64) + np.uint64(key_of(seed, stream, step)))
    counters = np.arange(1, width + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    bits = _mix_array(rows[:, None] + counters[None, :])
    bits >>= np.uint64(40)
    return bits.astype(np.float32) * np.float32(2.0**-24)


def generator(seed: int, stream: Stream, step: int, position: int = 0) -> np.random.Generator:
    """A numpy generator for draws whose number is not known beforehand."""
    return np.random.Generator(np.random.PCG64(key_of(seed, stream, step, position)))


def permutation(seed: int, epoch: int, count: int, part: int = 0) -> np.ndarray:
    """The order of `count` images in one epoch, another one for each part of a divided data set."""
    return generator(seed, Stream.ORDER, epoch, part).permutation(count)
