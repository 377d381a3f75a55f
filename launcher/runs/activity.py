"""What a run does at the moment, as text for tables, details and the live view."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from launcher.runfolder.states import State
from launcher.units import show_duration

if TYPE_CHECKING:
    from launcher.runs.view import RunView

PHASE_WORDS = {"compiling": "compiling graph", "waiting": "waiting for a restart"}


def activity_text(view: RunView, now: float | None = None) -> str:
    """`queued: reason`, `staging 41 % of 1.2 GB at 310 MB/s`, `compiling graph, 1 min 20 s`, `training`; for an ended run how it ended."""
    now = time.time() if now is None else now
    if view.state is State.SUCCEEDED:
        took = show_duration(view.ended_at - view.submitted_at) if view.ended_at and view.submitted_at else ""
        return f"done in {took}" if took else "done"
    if view.state.terminal or view.state is State.UNKNOWN:
        return first_line(view.reason) or str(view.state).lower()
    phase = view.phase or "starting"
    name = PHASE_WORDS.get(phase, phase)
    warning = warning_text(view)
    if phase == "queued":
        return f"queued: {view.detail or view.reason}" if view.detail or view.reason else "queued"
    if phase == "staging" and (how_far := view.staging.words() if view.staging else view.detail):
        return f"staging {how_far}"
    if phase == "training":
        return f"training; {warning}" if warning else "training"
    if phase == "waiting":  # its detail is already a duration
        return f"{name}, {view.detail}" if view.detail else name
    since = show_duration(now - view.phase_since) if view.phase_since else ""
    return ", ".join(filter(None, [name, view.detail, since, warning]))


def warning_text(view: RunView) -> str:
    """A fault that does not stop the run: uploads that fail, or a warning of a node program. Empty when there is none."""
    for node in view.nodes:
        if node.upload_error:
            return f"{node.pending_uploads} files not uploaded yet: {first_line(node.upload_error)}"
        if node.warning:
            return first_line(node.warning)
    return ""


def first_line(text: str) -> str:
    return text.split("\n", 1)[0]


def best_top1(view: RunView) -> float | None:
    """Top-1 of the checkpoint that was read back, else of the newest evaluation."""
    if "checkpoint" in view.results:
        return view.results["checkpoint"]
    if view.progress.top1 is not None:
        return view.progress.top1
    return view.results.get("last")


def slow_rank_text(view: RunView) -> str:
    """`rank 3 is at step 60 of 75` when ranks are two or more steps apart; else empty."""
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
