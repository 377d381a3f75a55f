"""MindSpore's profiler around some steps of some ranks: a trace in the run directory, and the operators by time.

`profile/node-<k>/rank-<r>/` has what MindSpore wrote and `trace_view.json`, which Perfetto, chrome://tracing and MindStudio
Insight open; `profile/node-<k>/rank-<r>.json`, written last, has the sums. A profiler that fails never ends a training.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitmodels.device.runtime import Rank
from vitmodels.errors import UsageError
from vitmodels.progress import write_json
from vitmodels.training.operatortimes import operators_in, write_timeline
from vitmodels.training.report import Reporter

STEPS, RANKS = "LAUNCHER_PROFILE_STEPS", "LAUNCHER_PROFILE_RANKS"


@dataclass(frozen=True)
class Window:
    """Steps to record, both ends among them, and the ranks that do."""

    first: int
    last: int
    ranks: tuple[int, ...] = (0,)

    @classmethod
    def of(cls, steps: str | None, ranks: str | None, env: Mapping[str, str]) -> Window | None:
        """From two options, else the environment; None without steps. Raises UsageError."""
        steps, ranks = steps or env.get(STEPS), ranks or env.get(RANKS) or "0"
        if not steps:
            return None
        match = re.fullmatch(r"([0-9]{1,12})(?:-([0-9]{1,12}))?", steps)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last:
            raise UsageError(
                f"steps to profile are {steps!r}", hint="name the first and the last, such as 100-110"
            )
        if not re.fullmatch(r"[0-9]{1,6}(,[0-9]{1,6})*", ranks):
            raise UsageError(f"ranks to profile are {ranks!r}", hint="name them by numbers, such as 0,8")
        return cls(first, last, tuple(int(each) for each in ranks.split(",")))


class Profiling:
    """The profiler of one rank. Does nothing without a window, and on ranks outside of it."""

    def __init__(
        self, window: Window | None, rank: Rank, device: str, run_dir: Path, reporter: Reporter
    ) -> None:
        self._window = window if window and rank.id in window.ranks else None
        self._rank, self._device, self._reporter = rank.id, device, reporter
        folder = run_dir / "profile" / f"node-{os.environ.get('NODE_RANK') or 0}"
        self._unfinished = folder / f".rank-{rank.id}"
        self.trace, self.summary = folder / f"rank-{rank.id}", folder / f"rank-{rank.id}.json"
        self._profiler: Any = None
        self._first = 0

    def before(self, step: int) -> None:
        """Start with the first step of the window that this process trains."""
        window = self._window
        if window is None or self._profiler is not None or not window.first <= step <= window.last:
            return
        try:
            shutil.rmtree(self._unfinished, ignore_errors=True)
            self._unfinished.mkdir(parents=True)
            self._profiler = _started(self._unfinished, self._rank, self._device)
            self._first = step
        except Exception as error:  # of MindSpore, CANN or the disk
            self._give_up(error)

    def after(self, step: int) -> None:
        """Stop, and write the results, when the window is over."""
        if self._profiler is None or self._window is None:
            return
        if step < self._window.last:
            self._profiler.step()
            return
        self._finish(step)

    def close(self) -> None:
        """Leave nothing of a window that was not finished."""
        if self._profiler is not None:
            self._stop()
            shutil.rmtree(self._unfinished, ignore_errors=True)

    def _stop(self) -> None:
        profiler, self._profiler = self._profiler, None
        with contextlib.suppress(Exception), _silent_stdout():  # MindSpore draws a bar of its analysis
            profiler.stop()

    def _finish(self, step: int) -> None:
        self._window = None
        self._stop()
        try:
            if self._device == "CPU":
                write_timeline(self._unfinished)
            operators = operators_in(self._unfinished)
            self.summary.unlink(missing_ok=True)
            shutil.rmtree(self.trace, ignore_errors=True)
            self._unfinished.rename(self.trace)
            facts = {"format": 1, "rank": self._rank, "steps": [self._first, step], "device": self._device}
            write_json(self.summary, {**facts, "operators": [operator.as_dict() for operator in operators]})
        except Exception as error:
            self._give_up(error)
            return
        total_ms = sum(operator.ms for operator in operators)
        self._reporter.note(
            f"profiled steps {self._first} to {step} of rank {self._rank}: {total_ms:.0f} ms in operators"
        )

    def _give_up(self, error: Exception) -> None:
        self._window = self._profiler = None
        shutil.rmtree(self._unfinished, ignore_errors=True)
        self._reporter.note(f"no profile of rank {self._rank}: {type(error).__name__}: {error}")


def _started(folder: Path, rank: int, device: str) -> Any:
    """A profiler that records. On CPU it writes its sums when it stops; on Ascend MindSpore's analysis makes them.

    That analysis is left out on CPU: it forks this process, whose threads may hold locks.
    """
    from mindspore import profiler as ms

    on_cpu = device == "CPU"
    activities = [ms.ProfilerActivity.CPU] if on_cpu else [ms.ProfilerActivity.CPU, ms.ProfilerActivity.NPU]
    profiler = ms.profile(
        activities=activities,
        on_trace_ready=ms.tensorboard_trace_handler(str(folder), f"rank-{rank}", analyse_flag=not on_cpu),
    )
    profiler.start()
    return profiler


@contextlib.contextmanager
def _silent_stdout() -> Iterator[None]:
    sys.stdout.flush()
    kept, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
