"""Decides whether a gang that failed is restarted. Pure: the time is a parameter."""

from __future__ import annotations

from dataclasses import dataclass, field

from launcher.jobfile.spec_failures import RetrySpec
from launcher.ranks.diagnose import Cause
from launcher.units import show_duration

MAX_BACKOFF_S = 300.0
FRUITLESS_RESTARTS = 2
"""After so many restarts in a row without a newer checkpoint the run ends."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Restart after `pause_s`, or end. `reason` is the cause and, for an end, why there is no restart; for people."""

    restart: bool
    reason: str
    hint: str = ""
    pause_s: float = 0.0
    exclude_host: str = ""
    no_progress: bool = False


@dataclass
class RestartPolicy:
    """The restarts of one run. `limits` is `retry` of the job file. Gets every failure, in order."""

    limits: RetrySpec
    _restarted_at: list[float] = field(default_factory=list)
    _fruitless: int = 0
    _total: int = 0
    _step_restarted: bool = False

    def next_step(self) -> None:
        """The next step of the plan begins: restarts without progress in the step before do not count for it."""
        self._fruitless, self._step_restarted = 0, False

    def decide(self, cause: Cause, before: int | None, after: int | None, now: float) -> Decision:
        """`before` and `after` are the newest complete checkpoints at the start and the end of the attempt that failed."""
        if self._step_restarted:
            self._fruitless = self._fruitless + 1 if (after or 0) <= (before or 0) else 0
        if cause.exclude_node:
            why = f"{cause.words}; {cause.host} is to be left out, by {cause.rule}"
            return Decision(False, why, exclude_host=cause.host, hint="`launcher resume` goes on elsewhere")
        if not cause.restart:
            hint = f"a restart would fail the same way ({cause.rule})"
            return Decision(False, cause.words, hint=hint)
        window = self.limits.window
        recent = [at for at in self._restarted_at if not window or now - at < window]
        if len(recent) >= self.limits.max_restarts:
            return Decision(False, cause.words + self._spent(len(recent)))
        if self._fruitless >= FRUITLESS_RESTARTS:
            return Decision(
                False,
                f"{cause.words}; {self._fruitless} restarts in a row made no progress, so there is no other one",
                no_progress=True,
            )
        pause = min(MAX_BACKOFF_S, float(self.limits.backoff or 0) * 2 ** len(recent))
        self._restarted_at = [*recent, now]
        self._total += 1
        self._step_restarted = True
        return Decision(True, cause.words, pause_s=pause)

    def _spent(self, recent: int) -> str:
        if not self._total:
            return ""
        times = f"{recent} restart{'s'[: recent != 1]}"
        within = f" within {show_duration(self.limits.window)}" if self._total > recent else ""
        return f" (after {times}{within})"
