"""One run in detail."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from launcher.advice.commands import advice_of, resume_helps
from launcher.cli.common import progress_text, results_text
from launcher.cli.style import STATE_STYLES, coloured, paint, width_of, wrap
from launcher.runfolder.states import Attempt, State, with_hint
from launcher.runs.activity import activity_text, first_line, slow_rank_text
from launcher.runs.words import came_from
from launcher.units import show_duration

if TYPE_CHECKING:
    from launcher.runfolder.states import NodeStatus
    from launcher.runs.view import RunView

MANY_RANKS = 8


def detail(
    view: RunView,
    now: float | None = None,
    *,
    drift: str = "",
    goodput: str = "",
    profiles: tuple[str, ...] = (),
) -> str:
    """Lines with a label each; what is not known has no line.

    `drift`: what has changed in the folder of the submission, `goodput`: where the time went, and `profiles`: the slowest
    operators of a rank, all in words.
    """
    now = time.time() if now is None else now
    colour, width = coloured(), width_of()
    state = paint(str(view.state), STATE_STYLES.get(view.state.value, ""), colour)
    lines = [f"{paint(view.run_id, 'bold', colour)}  {state}"]

    def add(label: str, text: str, style: str = "") -> None:
        if text:
            lines.append(f"  {label:<9} {paint(wrap(text, 12, width), style, colour)}")

    if not view.state.terminal:
        add("now", activity_text(view, now))
        add("platform", "" if view.detail and not view.nodes else view.platform)  # else `now` has it
    add("reason", view.reason, "red" if view.state is State.FAILED else "")
    add("progress", progress_text(view))
    add("behind", slow_rank_text(view), "yellow")
    add("results", results_text(view.results), "green")
    add("safe", _safe(view))
    add("drift", drift, "yellow")
    add("url", view.url)
    add("times", _times(view, now))
    add("goodput", goodput)
    for profile in profiles:
        add("profile", profile)
    for label, text, style in _parts(view):
        add(label, text, style)
    return "\n".join(lines)


def _parts(view: RunView) -> Iterator[tuple[str, str, str]]:
    """Label, text and style of the run's group, attempts, machines and next commands; an empty text has no line."""
    yield "group", _group(view), ""
    for place in view.partly_searched:
        yield (
            "searched",
            f"{place} in part: it has too many files to look for checkpoints among all",
            "yellow",
        )
    for attempt in view.attempts if len(view.attempts) > 1 else ():
        yield "attempt", _attempt(attempt), ""
    for node in view.nodes:
        late = f"{node.upload_error}; {node.pending_uploads} files are not in the store yet"
        yield "node", _node(node), ""
        yield "upload", late if node.upload_error else "", "yellow"
        yield "tracking", node.tracking_error, "yellow"
        yield "error", "" if view.state.terminal else first_line(node.last_error), "yellow"
        yield "warning", node.warning, "yellow"
    for number, command in enumerate(_next(view)):
        yield "next" if number == 0 else "", command, "cyan"


def _safe(view: RunView) -> str:
    if view.unsafe:
        return "not every result is in the store"
    if view.state is State.SUCCEEDED:
        return "every result is in the store, verified"
    if view.safe:
        return f"{view.safe} is in the store, verified"
    return "no checkpoint is in the store yet"


def _times(view: RunView, now: float) -> str:
    if not view.submitted_at:
        return ""
    submitted = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(view.submitted_at))
    end = f"took {show_duration(view.ended_at - view.submitted_at)}" if view.ended_at else ""
    running = "" if view.state.terminal else f"{show_duration(now - view.submitted_at)} ago"
    return ", ".join(filter(None, [f"submitted {submitted}", running, end]))


def _group(view: RunView) -> str:
    values = ", ".join(f"{key}={value}" for key, value in view.labels.items())
    return f"{view.group}: {values}" if values else view.group


def _attempt(attempt: Attempt) -> str:
    duration = f" after {show_duration(attempt.ended_at - attempt.started_at)}" if attempt.ended_at else ""
    outcome = with_hint(attempt.outcome, attempt.hint)
    return f"{attempt.attempt}{came_from(attempt)}{duration}: {outcome or 'running'}"


def _node(node: NodeStatus) -> str:
    text = f"{node.node} on {node.host}, pid {node.pid}"
    ranks = [
        f"rank {r.rank} {r.phase or 'starting'}" + (f" step {r.step}" if r.step is not None else "")
        for r in node.ranks
    ]
    if len(ranks) > MANY_RANKS:
        steps = [r.step for r in node.ranks if r.step is not None]
        phases = ", ".join(
            f"{sum(r.phase == phase for r in node.ranks)} {phase or 'starting'}"
            for phase in dict.fromkeys(r.phase for r in node.ranks)
        )
        ranks = [f"{len(ranks)} ranks: {phases}" + (f", steps {min(steps)} to {max(steps)}" if steps else "")]
    return f"{text}: {', '.join(ranks)}" if ranks else text


def _next(view: RunView) -> list[str]:
    if view.state is State.SUCCEEDED:
        return [f"launcher fetch-results {view.run_id}"]
    if view.state is State.FAILED:
        resume = [f"launcher resume {view.run_id}"] if resume_helps(view, advice_of(view)) else []
        return [f"launcher explain {view.run_id}", *resume]
    if view.state is State.CANCELLED:
        return [f"launcher resume {view.run_id}"]
    if view.state is State.UNKNOWN:
        return [f"launcher logs {view.run_id} --tail 20"]
    return [f"launcher attach {view.run_id}"]
