"""Why a node program should stop: a signal, a cancel request, the time limit, or a later attempt that took over."""

from __future__ import annotations

import signal
import time
from types import FrameType

from launcher.courier import Courier
from launcher.errors import LauncherError
from launcher.plan import Plan
from launcher.units import show_duration

CANCELLED = "cancelled"
SUPERSEDED = "a later attempt of this run has taken over"


class Stopped(LauncherError):
    """Somebody asked the node program to stop. `what` is the reason."""


class Stopper:
    """Remembers the first reason. Made by the main thread, which takes the signals."""

    def __init__(self, plan: Plan, courier: Courier) -> None:
        self._plan, self._courier = plan, courier
        self._started = time.time()
        self._reason = ""

    def install(self) -> None:
        """Take over SIGTERM and SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    @property
    def reason(self) -> str:
        """The reason to stop, or an empty text. Looks at the run directory, so call it from the main loop only."""
        if self._courier.superseded.is_set():
            self._reason = SUPERSEDED
        elif self._plan.run_dir.cancel.exists() or self._courier.cancelled.is_set():
            self._reason = CANCELLED
        limit = self._plan.time_limit_s
        if not self._reason and limit and time.time() - self._started > limit:
            self._reason = f"the time limit of {show_duration(limit)} is over"
        return self._reason

    def check(self) -> None:
        """Raises Stopped when there is a reason."""
        if reason := self.reason:
            raise Stopped(reason)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._reason = self._reason or f"stopped by {signal.Signals(number).name}"
