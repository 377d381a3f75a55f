"""Whether a gang that failed is started again, and why not in words. Pure but for the clock it is given."""

from __future__ import annotations

from dataclasses import dataclass, field

from launcher.jobfile.spec import RetrySpec
from launcher.ranks.diagnose import Cause
from launcher.units import show_duration

MAX_BACKOFF_S = 300.0
FRUITLESS_RESTARTS = 2
"""So many restarts in a row that saved no newer checkpoint end the run: the next one would not either."""


@dataclass(frozen=True, slots=True)
class Decision:
    """`reason` is the cause, and for an end also why it is one. `pause_s` comes before the restart."""

    restart: bool
    reason: str
    hint: str = ""
    pause_s: float = 0.0
    exclude_host: str = ""
    no_progress: bool = False


@dataclass
class RestartPolicy:
    """The restarts of one run. Ask it about each failure, in order."""

    retry: RetrySpec
    _at: list[float] = field(default_factory=list)
    _fruitless: int = 0
    _total: int = 0
    _restarted: bool = False

    def next_program(self) -> None:
        """The next program of the run begins: what the one before did not achieve is no fault of it."""
        self._fruitless, self._restarted = 0, False

    def decide(self, cause: Cause, before: int | None, after: int | None, now: float) -> Decision:
        """`before` and `after` are the newest complete checkpoints at the start and the end of the try that failed."""
        if self._restarted:
            self._fruitless = self._fruitless + 1 if (after or 0) <= (before or 0) else 0
        if cause.exclude_node:
            why = f"{cause.words}; {cause.host} is to be left out, by {cause.rule}"
            return Decision(False, why, exclude_host=cause.host, hint="`launcher resume` goes on elsewhere")
        if not cause.restart:
            hint = f"a restart would fail the same way ({cause.rule})"
            return Decision(False, cause.words, hint=hint)
        window = self.retry.window
        recent = [at for at in self._at if not window or now - at < window]
        if len(recent) >= self.retry.max_restarts:
            return Decision(False, cause.words + self._spent(len(recent)))
        if self._fruitless >= FRUITLESS_RESTARTS:
            return Decision(
                False,
                f"{cause.words}; {self._fruitless} restarts in a row made no progress, so there is no other one",
                no_progress=True,
            )
        pause = min(MAX_BACKOFF_S, float(self.retry.backoff) * 2 ** len(recent))
        self._at = [*recent, now]
        self._total += 1
        self._restarted = True
        return Decision(True, cause.words, pause_s=pause)

    def _spent(self, recent: int) -> str:
        if not self._total:
            return ""
        times = f"{recent} restart{'s'[: recent != 1]}"
        within = f" within {show_duration(self.retry.window)}" if self._total > recent else ""
        return f" (after {times}{within})"
