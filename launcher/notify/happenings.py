"""What has happened to a run that somebody may want to hear of. Pure: the same on the run's machine and on a watching one."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass

from launcher.jobfile.spec_notify import Event, NotifySpec, condition
from launcher.runfolder.progress import Progress
from launcher.runfolder.states import AttemptResult, FirstFailure, RunState, State

_COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_WITHOUT_WORD = (None, AttemptResult.DONE, AttemptResult.CANCELLED)
HANG = "hang"
"""The rule of a failure that the watchdog took as a hang."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened. `key` names it among those of its run; `events` are what it counts as, the most telling first."""

    key: str
    events: tuple[Event, ...]
    attempt: int
    verdict: str
    failure: FirstFailure | None = None


def happenings(run: RunState, progress: Progress, spec: NotifySpec) -> list[Happening]:
    """All that has happened so far, in no order of time."""
    found = [*_ends_of_attempts(run), *_first_checkpoint(run), *_metric(run, progress, spec)]
    return [*found, _end(run)] if run.state.terminal else found


def _end(run: RunState) -> Happening:
    events: tuple[Event, ...] = ("end",)
    if run.state is State.FAILED:
        events = (*_if_hang(run.first_failure), "failure", "end")
    return Happening(_key(run.attempt), events, run.attempt, run.reason, run.first_failure)


def _ends_of_attempts(run: RunState) -> Iterator[Happening]:
    """An attempt that another one has followed without somebody's wish."""
    for each in run.attempts:
        if each.attempt < run.attempt and each.result not in _WITHOUT_WORD:
            events: tuple[Event, ...] = (*_if_hang(each.first_failure), "restart")
            yield Happening(_key(each.attempt), events, each.attempt, each.outcome, each.first_failure)


def _first_checkpoint(run: RunState) -> Iterator[Happening]:
    if run.safe:
        yield Happening("first-checkpoint", ("first-checkpoint",), run.attempt, f"{run.safe} is in the store")


def _metric(run: RunState, progress: Progress, spec: NotifySpec) -> Iterator[Happening]:
    if spec.metric is None or (parts := condition(spec.metric)) is None:
        return
    name, sign, bound = parts
    value = getattr(progress, name, None) if name in Progress.model_fields else run.results.get(name)
    if value is not None and _COMPARE[sign](value, bound):
        yield Happening("metric", ("metric",), run.attempt, f"{name} is {value:.6g}, so {spec.metric} holds")


def _if_hang(failure: FirstFailure | None) -> tuple[Event, ...]:
    return ("hang",) if failure is not None and failure.rule == HANG else ()


def _key(attempt: int) -> str:
    return f"attempt-{attempt}"
