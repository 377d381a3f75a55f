"""What to type after the end of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from launcher.advice.rows import Advice, advice_for, would_repeat
from launcher.runfolder.states import FirstFailure, State, UnsafeResults


class Ended(Protocol):
    """What this needs to know of a run: a `RunState` and a `RunView` have it."""

    @property
    def run_id(self) -> str: ...
    @property
    def state(self) -> State: ...
    @property
    def first_failure(self) -> FirstFailure | None: ...
    @property
    def unsafe(self) -> Sequence[UnsafeResults] | None: ...


def advice_of(run: Ended) -> Advice | None:
    """What to do about the end of the run."""
    return advice_for(run.first_failure, unsafe=bool(run.unsafe))


def resume_helps(run: Ended, advice: Advice | None) -> bool:
    """Whether `launcher resume` is to be offered: not where the run would fail the same way."""
    if run.state is State.FAILED:
        return not would_repeat(run.first_failure, advice)
    return run.state is State.CANCELLED


def next_commands(run: Ended, advice: Advice | None) -> tuple[str, ...]:
    """What to type, the best first; `explain` is not among them."""
    if run.state is State.SUCCEEDED:
        return (f"launcher fetch-results {run.run_id}",)
    if run.state is State.UNKNOWN:
        return (f"launcher logs {run.run_id} --tail 20", f"launcher resume {run.run_id} --force")
    if not run.state.terminal:
        return (f"launcher attach {run.run_id}",)
    resume = f"launcher resume {run.run_id}"
    found = [advice.next.replace("{run}", run.run_id)] if advice else []
    found += [f"launcher logs {run.run_id} --errors", resume]
    helps = resume_helps(run, advice)
    return tuple(dict.fromkeys(each for each in found if helps or each != resume))
