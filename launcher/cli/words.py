"""What a run does, in words of different length: for tables, details and the live view."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from launcher.runfolder.states import State
from launcher.units import show_duration

if TYPE_CHECKING:
    from launcher.runs.view import RunView

PHASE_WORDS = {"compiling": "compiling graph", "waiting": "waiting for a restart"}


def now_words(view: RunView, now: float | None = None) -> str:
    """`queued: reason`, `staging 41 % of 1.2 GB at 310 MB/s`, `compiling graph, 1 min 20 s`, `training`; of an ended run how it ended."""
    now = time.time() if now is None else now
    if view.state is State.SUCCEEDED:
        took = show_duration(view.ended_at - view.submitted_at) if view.ended_at and view.submitted_at else ""
        return f"done in {took}" if took else "done"
    if view.state.terminal or view.state is State.UNKNOWN:
        return first_line(view.reason) or str(view.state).lower()
    phase = view.phase or "starting"
    words = PHASE_WORDS.get(phase, phase)
    trouble = trouble_words(view)
    if phase == "queued":
        return f"queued: {view.detail or view.reason}" if view.detail or view.reason else "queued"
    if phase == "staging" and view.detail:
        return f"staging {view.detail}"
    if phase == "training":
        return f"training; {trouble}" if trouble else "training"
    if phase == "waiting":  # its detail is a time already
        return f"{words}, {view.detail}" if view.detail else words
    since = show_duration(now - view.phase_since) if view.phase_since else ""
    return ", ".join(filter(None, [words, view.detail, since, trouble]))


def trouble_words(view: RunView) -> str:
    """What is not well although the run goes on: uploads that fail, a warning of a node program."""
    for node in view.nodes:
        if node.upload_error:
            return f"{node.pending_uploads} files not uploaded yet: {first_line(node.upload_error)}"
        if node.warning:
            return first_line(node.warning)
    return ""


def first_line(text: str) -> str:
    return text.split("\n", 1)[0]


def best_top1(view: RunView) -> float | None:
    """Top-1 to show in one number: of the checkpoint read back, else of the newest evaluation."""
    if "checkpoint" in view.results:
        return view.results["checkpoint"]
    if view.progress.top1 is not None:
        return view.progress.top1
    return view.results.get("last")


def laggards(view: RunView) -> str:
    """`rank 3 is at step 60 of 75` when ranks are more than one step apart; else empty."""
    if view.phase not in ("training", "evaluating"):
        return ""
    steps = {rank.rank: rank.step for node in view.nodes for rank in node.ranks if rank.step is not None}
    if len(steps) < 2 or max(steps.values()) - min(steps.values()) < 2:
        return ""
    slowest = min(steps, key=lambda rank: (steps[rank], rank))
    return f"rank {slowest} is at step {steps[slowest]}, others at {max(steps.values())}"


def clock(seconds: float) -> str:
    """` 1:05`, `12:30`, `125:00`: minutes and seconds."""
    whole = int(seconds)
    return f"{whole // 60:3}:{whole % 60:02}"
