"""Why a node program should stop: a signal, a cancel request, the time limit, or a later attempt that took over."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from types import FrameType

from launcher.errors import LauncherError
from launcher.node.upload import BackgroundUpload
from launcher.plan.model import Plan
from launcher.runfolder.smallfiles import read_small
from launcher.runfolder.states import EndedBy, TextEnum
from launcher.units import show_duration

SIGNALS = (signal.SIGTERM, signal.SIGINT)
ECHO_S = 3.0
"""One cancel request comes as an object, a file and a signal, within this time."""


class StopKind(TextEnum):
    """Why a node program should stop."""

    CANCEL = "cancel"  # a cancel request
    SIGNAL = "signal"
    PLATFORM = "platform"  # the platform announced the end of its part of the run
    TIME_LIMIT = "time-limit"
    SUPERSEDED = "superseded"  # a later attempt has taken over

    @property
    def ended_by(self) -> EndedBy:
        return _ENDED_BY[self]

    @property
    def rule(self) -> str:
        """Id of this kind of end in advice.yaml; empty for an end that somebody wanted."""
        return _RULES.get(self, "")


_ENDED_BY = {
    StopKind.CANCEL: EndedBy.USER,
    StopKind.SIGNAL: EndedBy.SIGNAL,
    StopKind.PLATFORM: EndedBy.PLATFORM,
    StopKind.TIME_LIMIT: EndedBy.LAUNCHER,
    StopKind.SUPERSEDED: EndedBy.LAUNCHER,
}
_RULES = {
    StopKind.SIGNAL: "stop-signal",
    StopKind.PLATFORM: "platform-limit",
    StopKind.TIME_LIMIT: "time-limit",
}


@dataclass(frozen=True, slots=True)
class StopRequest:
    """Somebody asked the node program to stop. `words` are for people."""

    kind: StopKind
    words: str


CANCEL = StopRequest(StopKind.CANCEL, "cancelled on request")
SUPERSEDED = StopRequest(StopKind.SUPERSEDED, "a later attempt of this run has taken over")


class Stopped(LauncherError):
    """Somebody asked the node program to stop."""

    def __init__(self, request: StopRequest) -> None:
        super().__init__(request.words, rule=request.kind.rule)
        self.request = request


class Stopper:
    """Remembers the first request. Made by the main thread, which takes the signals."""

    def __init__(self, plan: Plan, upload: BackgroundUpload) -> None:
        self._plan, self._upload = plan, upload
        self._started = time.monotonic()
        self._request: StopRequest | None = None
        self._signals: list[float] = []
        self._settled_at = float("inf")
        self.settled_for: StopRequest | None = None
        """The request that arrived before `settle`."""
        self._cancel_file: int | None = None

    def install(self) -> None:
        """Handle SIGTERM and SIGINT from now on, also one that is pending: the node program starts with both blocked."""
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    @property
    def request(self) -> StopRequest | None:
        """The request to stop, if there is one. Looks at the run directory, so call it from the main loop only."""
        if self._upload.superseded.is_set():
            self._request = SUPERSEDED
        elif self._plan.run_dir.cancel.exists() or self._upload.cancelled.is_set():
            self._request = CANCEL
        elif self._request is None and (words := self._platform_words()):
            self._request = StopRequest(StopKind.PLATFORM, words)
        limit = self._plan.time_limit_s
        if self._request is None and limit and time.monotonic() - self._started > limit:
            words = f"the time limit of {show_duration(limit)} is over"
            self._request = StopRequest(StopKind.TIME_LIMIT, words)
        return self._request

    def _platform_words(self) -> str:
        try:
            return read_small(self._plan.run_dir.stop).decode(errors="replace").strip()
        except (OSError, LauncherError):
            return ""

    def check(self) -> None:
        """Raises Stopped when there is a request."""
        if request := self.request:
            raise Stopped(request)

    def settle(self) -> None:
        """The run ends now, whatever was requested until now: from here on only `asked_again` counts."""
        self.settled_for = self.request
        self._settled_at = time.monotonic()
        self._cancel_file = self._cancel_mark()

    def asked_again(self) -> StopRequest | None:
        """A request that arrived after `settle`. A signal and a file that belong to one request count once."""
        echo_ends = self._settled_at + (ECHO_S if self.settled_for is not None else 0.0)
        mark = self._cancel_mark()
        if time.monotonic() < echo_ends:
            self._cancel_file = mark
            return None
        if mark is not None and mark != self._cancel_file:
            return CANCEL
        if any(at > echo_ends for at in self._signals):
            return StopRequest(StopKind.SIGNAL, "stopped by a signal")
        return None

    def _cancel_mark(self) -> int | None:
        try:
            return self._plan.run_dir.cancel.stat().st_mtime_ns
        except OSError:
            return None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(time.monotonic())
        words = f"stopped by {signal.Signals(number).name}"
        self._request = self._request or StopRequest(StopKind.SIGNAL, words)
