"""The state of a run from what it wrote and what its platform says of it. Pure: a state and a Life in, a state out.

A decision reads the fields of these values only; the reasons are made here and never read.
"""

from __future__ import annotations

from launcher.advice.rows import advice_for, would_repeat
from launcher.backends.base import Life
from launcher.runfolder.states import EndedBy, FirstFailure, RunState, State, with_unsafe
from launcher.units import show_duration

SILENCE_S = 90.0
"""A node program writes at least every 10 s; one that was not heard of for longer than this may be gone."""
GONE = "its node program is gone without a word (killed, or the machine was restarted)"


def without_machine(state: RunState, now: float) -> RunState:
    """The platform has the run, but no machine has it, or none any more: what the last one wrote does not count."""
    changes = {"state": State.PENDING, "phase": "queued", "updated_at": now}
    return state.without_end().model_copy(update=changes)


def alive(state: RunState) -> RunState:
    """The run lives, by its platform. A run that wrote its end is about to end, or to be started again."""
    if not state.state.terminal:
        return state
    return state.without_end().model_copy(update={"state": State.RUNNING})


def perhaps_again(state: RunState, life: Life) -> RunState:
    """The run wrote its end, its platform may start it again, and does not answer."""
    reason = (
        f"it reported {state.state}: {state.reason}; whether it is started again is not known: {life.detail}"
    )
    return state.model_copy(update={"state": State.UNKNOWN, "reason": reason})


def with_platform(state: RunState, life: Life) -> RunState:
    """What the platform adds to a failure: an error from before the node programs began, or that somebody cancelled the job."""
    if state.state is not State.FAILED:
        return state
    if life.cause:
        return state.model_copy(update={"reason": f"{life.cause}; {state.reason}"})
    if life.cancelled and state.ended_by is EndedBy.SIGNAL:
        changes = {"state": State.CANCELLED, "reason": f"cancelled; {life.detail}"}
        return state.model_copy(
            update={**changes, "hint": "", "ended_by": EndedBy.PLATFORM, "first_failure": None}
        )
    return state


def gone(state: RunState, life: Life, *, cancel_requested: bool, silent_s: float | None = None) -> RunState:
    """The run has ended, by its platform, and has not written its end. `silent_s` counts where the platform has forgotten the run."""
    if life.forgotten and (silent_s is None or silent_s < SILENCE_S):
        return silent(state, life, silent_s)
    safe = f"{state.safe} is in the store" if state.safe else "no checkpoint was in the store yet"
    if life.cancelled or cancel_requested:
        words = "cancelled" if life.cancelled else "cancelled on request"
        changes: dict[str, object] = {
            "state": State.CANCELLED,
            "reason": f"{words}; {life.detail or 'its node program is gone'}; {safe}",
            "ended_by": EndedBy.PLATFORM if life.cancelled else EndedBy.USER,
        }
    else:
        failure = FirstFailure(rule=life.rule or "node-gone")
        advice = advice_for(failure)
        helps = not would_repeat(failure, advice)
        resume = f"`launcher resume {state.run_id}` goes on" if helps else ""
        changes = {
            "state": State.FAILED,
            "reason": "; ".join(filter(None, [life.detail or GONE, safe, resume])),
            "first_failure": failure,
        }
    return state.without_end().model_copy(update=changes)


def silent(state: RunState, life: Life, silent_s: float | None) -> RunState:
    """Nobody can tell whether the run lives: UNKNOWN once it has written nothing for long, or when that can't be told (None)."""
    if state.state is State.UNKNOWN or (silent_s is not None and silent_s < SILENCE_S):
        return state
    heard = "when it wrote last can't be told" if silent_s is None else _heard(silent_s)
    parts = [heard, life.detail]
    parts.append("if it is gone, `launcher resume --force` takes over")
    return state.model_copy(update={"state": State.UNKNOWN, "reason": "; ".join(filter(None, parts))})


def _heard(silent_s: float) -> str:
    return f"last heard of {show_duration(silent_s)} ago"


def headline(state: RunState) -> str:
    """Why the run ended and what is not safe, without the hint."""
    return with_unsafe(state.reason, state.unsafe)
