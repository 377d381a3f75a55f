"""Why a node program should stop: a signal, a cancel request, the time limit, or a later attempt that took over."""

from __future__ import annotations

import signal
import time
from types import FrameType

from launcher.errors import LauncherError
from launcher.node.upload import BackgroundUpload
from launcher.plan.model import Plan
from launcher.units import show_duration

SIGNALS = (signal.SIGTERM, signal.SIGINT)
ECHO_S = 3.0
"""One request to cancel comes as an object, a file and a signal, some moments apart."""
CANCELLED = "cancelled"
SUPERSEDED = "a later attempt of this run has taken over"


class Stopped(LauncherError):
    """Somebody asked the node program to stop. `what` is the reason."""


class Stopper:
    """Remembers the first reason. Made by the main thread, which takes the signals."""

    def __init__(self, plan: Plan, upload: BackgroundUpload) -> None:
        self._plan, self._upload = plan, upload
        self._started = time.time()
        self._reason = ""
        self._signals: list[float] = []
        self._settled, self._had_reason = float("inf"), False
        self._cancel_file: int | None = None
        self.by_platform = False
        """The platform said that it is about to end its part of the run."""

    def install(self) -> None:
        """Take over SIGTERM and SIGINT, and one that came before: the node program starts with both held back."""
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    @property
    def reason(self) -> str:
        """The reason to stop, or an empty text. Looks at the run directory, so call it from the main loop only."""
        if self._upload.superseded.is_set():
            self._reason = SUPERSEDED
        elif self._plan.run_dir.cancel.exists() or self._upload.cancelled.is_set():
            self._reason = CANCELLED
        elif not self._reason and (words := self._told()):
            self._reason, self.by_platform = words, True
        limit = self._plan.time_limit_s
        if not self._reason and limit and time.time() - self._started > limit:
            self._reason = f"the time limit of {show_duration(limit)} is over"
        return self._reason

    def _told(self) -> str:
        try:
            return self._plan.run_dir.stop.read_text().strip()
        except OSError:
            return ""

    def check(self) -> None:
        """Raises Stopped when there is a reason."""
        if reason := self.reason:
            raise Stopped(reason)

    def settle(self) -> None:
        """What was asked for until now has been acted on: the run ends, and only `asked_again` counts any more."""
        self._settled = time.monotonic()
        self._cancel_file = self._cancel_mark()
        self._had_reason = bool(self._reason)

    def asked_again(self) -> str:
        """The reason given by a request that came after `settle`, or an empty text. The parts of one request count once."""
        echo_ends = self._settled + (ECHO_S if self._had_reason else 0.0)
        mark = self._cancel_mark()
        if time.monotonic() < echo_ends:
            self._cancel_file = mark
            return ""
        if mark is not None and mark != self._cancel_file:
            return CANCELLED
        return "stopped by a signal" if any(at > echo_ends for at in self._signals) else ""

    def _cancel_mark(self) -> int | None:
        try:
            return self._plan.run_dir.cancel.stat().st_mtime_ns
        except OSError:
            return None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(time.monotonic())
        self._reason = self._reason or f"stopped by {signal.Signals(number).name}"
