"""What several commands say of a run, so that they say the same."""

from __future__ import annotations

from launcher.runfolder.states import Attempt, State
from launcher.runs.advice import Advice, advice_for, would_repeat
from launcher.runs.view import RunView


def came_from(attempt: Attempt) -> str:
    """` from step 2` or ` from the beginning`; empty for the first attempt, and while it is not settled yet."""
    if attempt.attempt <= 1 or attempt.resume_settled is False:
        return ""
    return " from the beginning" if attempt.resumed_step is None else f" from step {attempt.resumed_step}"


def advice_of(view: RunView) -> Advice | None:
    """What to do about the end of the run."""
    return advice_for(view.first_failure, unsafe=bool(view.unsafe))


def resume_helps(view: RunView, advice: Advice | None) -> bool:
    """Whether `launcher resume` is to be offered: not where the run would fail the same way."""
    if view.state is State.FAILED:
        return not would_repeat(view.first_failure, advice)
    return view.state is State.CANCELLED


def next_commands(view: RunView, advice: Advice | None) -> tuple[str, ...]:
    """What to type after the end of a run that did not succeed, the best first; `explain` is not among them."""
    resume = f"launcher resume {view.run_id}"
    found = [advice.next.replace("{run}", view.run_id)] if advice else []
    found += [f"launcher logs {view.run_id} --errors", resume]
    helps = resume_helps(view, advice)
    return tuple(dict.fromkeys(each for each in found if helps or each != resume))
