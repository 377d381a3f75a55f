"""Keyed random numbers: repeatable, independent of how a batch is cut, and random."""

from __future__ import annotations

import numpy as np

from vitmodels.device.rng import Stream, generator, key_of, permutation, uniforms


def test_a_row_depends_on_its_position_alone() -> None:
    whole = uniforms(1, Stream.MASK, 5, np.arange(16), 7)
    for ranks in (2, 4):
        parts = [uniforms(1, Stream.MASK, 5, part, 7) for part in np.split(np.arange(16), ranks)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(uniforms(1, Stream.MASK, 5, np.arange(16), 3), whole[:, :3])


def test_seed_stream_and_step_each_change_every_number() -> None:
    base = uniforms(1, Stream.MASK, 5, np.arange(64), 8)
    for other in (
        uniforms(2, Stream.MASK, 5, np.arange(64), 8),
        uniforms(1, Stream.AUGMENT, 5, np.arange(64), 8),
        uniforms(1, Stream.MASK, 6, np.arange(64), 8),
        uniforms(1, Stream.MASK, 5, np.arange(64) + 64, 8),
    ):
        assert (base == other).mean() < 0.01
        assert abs(np.corrcoef(base.ravel(), other.ravel())[0, 1]) < 0.15


def test_numbers_are_uniform_and_below_one() -> None:
    draws = uniforms(0, Stream.AUGMENT, 0, np.arange(2000), 100)
    assert draws.dtype == np.float32
    assert draws.min() >= 0
    assert draws.max() < 1
    counts, _ = np.histogram(draws, 20, (0, 1))
    chi2 = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    assert chi2 < 43.8  # 19 degrees of freedom, p = 0.001
    lag = np.corrcoef(draws[:, :-1].ravel(), draws[:, 1:].ravel())[0, 1]
    assert abs(lag) < 0.01


def test_an_epoch_is_a_permutation_of_its_own() -> None:
    first, second = permutation(0, 0, 100), permutation(0, 1, 100)
    assert sorted(first) == list(range(100))
    assert (first == second).mean() < 0.2
    np.testing.assert_array_equal(first, permutation(0, 0, 100))


def test_keys_depend_on_order_and_fit_64_bits() -> None:
    assert key_of(1, 2) != key_of(2, 1)
    assert 0 <= key_of(2**63, 2**40) < 2**64
    assert generator(0, Stream.MIX, 3, 4).random() == generator(0, Stream.MIX, 3, 4).random()
