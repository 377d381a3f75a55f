from __future__ import annotations

import numpy as np
import pytest

from vitmodels.exported.latency import Latencies


@pytest.mark.parametrize("count", [1, 10, 99, 5000])
def test_percentiles_are_right_to_a_thousandth(count: int) -> None:
    seconds = np.random.default_rng(count).lognormal(-4, 1.5, count)
    latencies = Latencies()
    for one in seconds:
        latencies.add(float(one), 1)
    assert latencies.mean == pytest.approx(seconds.mean(), rel=1e-9)
    for percent in (1, 50, 95, 99, 100):
        wanted = np.percentile(seconds, percent, method="inverted_cdf")
        assert latencies.percentile(percent) == pytest.approx(wanted, rel=1.001e-3)


def test_a_batch_counts_as_often_as_it_has_images() -> None:
    latencies = Latencies()
    latencies.add(0.5, 1)
    latencies.add(0.001, 99)
    assert latencies.percentile(99) == pytest.approx(0.001, rel=1e-3)
    assert latencies.percentile(99.5) == 0.5
    assert latencies.mean == pytest.approx(0.599 / 100)


def test_times_out_of_range_are_counted() -> None:
    latencies = Latencies()
    for seconds in (0.0, 1e-12, 1e9):
        latencies.add(seconds, 1)
    assert latencies.percentile(50) == pytest.approx(1e-7, rel=1e-2)
    assert latencies.percentile(100) == pytest.approx(1e5, rel=1e-2)
    assert latencies.mean == pytest.approx(1e9 / 3)
