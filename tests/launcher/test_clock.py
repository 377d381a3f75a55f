"""Moments hold when the clock of the machine is set."""

import time
from pathlib import Path

import pytest

from launcher.clock import Begin


@pytest.mark.parametrize("step_s", [-3e7, -600.0, 0.0, 600.0, 3e7])
def test_a_file_written_since_is_never_older(
    step_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, right = Begin(), time.time
    monkeypatch.setattr(time, "time", lambda: right() + step_s)
    before, after = begin.wall, time.time()
    for written in (before, after):
        assert written >= begin.oldest_file() - 0.01
