"""The values that the templates show. All text in them is foreign: the templates escape it."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

from markupsafe import Markup

from launcher.api import Run
from launcher.errors import LauncherError
from launcher.jsontext import is_number
from launcher.report import sections, settings
from launcher.report.chart import part_bar
from launcher.report.gather import RunReport, gather
from launcher.report.markup import escape
from launcher.report.pieces import dot, with_code
from launcher.runs.activity import activity_text, best_top1, first_line
from launcher.runs.folder import RunFolder
from launcher.runs.phases import PROGRAM_PHASES
from launcher.runs.view import RunView
from launcher.units import show_bytes, show_duration

SPARK_WIDTH, SPARK_HEIGHT = 96, 22


@dataclass(frozen=True, slots=True)
class Row:
    """One run of the table."""

    run_id: str
    name: str
    state: str
    began: bool
    epoch: str
    loss: str
    top1: str
    left: str
    age: str
    now: str


def row_of(view: RunView, now: float) -> Row:
    """The texts of a run in the table."""
    progress, running, top1 = view.progress, not view.state.terminal, best_top1(view)
    epoch = "" if progress.epoch is None else str(progress.epoch)
    return Row(
        run_id=view.run_id,
        name=view.name,
        state=view.state.value,
        began=bool(view.attempts),
        epoch=f"{epoch}/{progress.epochs}" if epoch and progress.epochs else epoch,
        loss=f"{progress.loss:.3f}" if progress.loss is not None else "",
        top1=f"{100 * top1:.2f} %" if top1 is not None else "",
        left=show_duration(progress.eta_s) if running and progress.eta_s is not None else "",
        age=show_duration(now - view.submitted_at) if view.submitted_at else "",
        now=activity_text(view, now),
    )


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine of a run: its heartbeat and its ranks."""

    node: int
    host: str
    phase: str
    heard: str
    rate: str
    trouble: str
    ranks: tuple[tuple[int, str, str], ...]


@dataclass(frozen=True, slots=True)
class AttemptBar:
    """One attempt: a bar of its phases in order, and how long each took."""

    number: int
    outcome: str
    bar: Markup
    legend: Markup


@dataclass(frozen=True, slots=True)
class Live:
    """What changes on a run's page while the run goes on."""

    row: Row
    now: Markup
    reason: Markup
    machines: tuple[Machine, ...]
    timeline: tuple[AttemptBar, ...]
    curves: Markup
    failures: Markup
    failures_title: str
    safe: str
    ended: bool


def live_of(report: RunReport, now: float) -> Live:
    view = report.view
    row = row_of(view, now)
    return Live(
        row=row,
        now=markup(with_code(row.now)),
        reason=markup(with_code(view.reason)),
        machines=tuple(
            Machine(
                node=node.node,
                host=node.host,
                phase=node.phase,
                heard=show_duration(max(0.0, now - node.updated_at)),
                rate=f"{node.progress.images_per_s:.0f} images/s" if node.progress.images_per_s else "",
                trouble=node.upload_error or node.warning or node.last_error or node.tracking_error,
                ranks=tuple(
                    (each.rank, each.phase, "" if each.step is None else str(each.step))
                    for each in node.ranks
                ),
            )
            for node in view.nodes
        ),
        timeline=_timeline(view, now),
        curves=markup(sections.curves([report])),
        failures=markup(sections.failures([report])),
        failures_title=sections.failures_title([report]),
        safe=view.safe,
        ended=view.state.terminal,
    )


def _timeline(view: RunView, now: float) -> tuple[AttemptBar, ...]:
    """A bar for each attempt, all on one scale."""
    end = view.ended_at or now
    bounds = [each.started_at for each in view.attempts] + [end]
    longest = max((b - a for a, b in itertools.pairwise(bounds)), default=0.0)
    if longest <= 0:
        return ()
    marks = [(each.at, _phase_of(each.program or each.phase)) for each in view.phase_times]
    bars = []
    for attempt, (start, stop) in zip(view.attempts, itertools.pairwise(bounds), strict=True):
        inside = [(start, "starting"), *((at, name) for at, name in marks if start <= at < stop), (stop, "")]
        parts = [
            (name, b - a, sections.PHASE_COLOURS.get(name, "#8d99ae"))
            for (a, name), (b, _) in itertools.pairwise(inside)
        ]
        bars.append(
            AttemptBar(
                number=attempt.attempt,
                outcome=first_line(attempt.outcome),
                bar=markup(part_bar(parts, longest)),
                legend=markup("".join(_legend(*part) for part in parts if part[1] >= 1)),
            )
        )
    return tuple(bars)


def _legend(name: str, seconds: float, colour: str) -> str:
    return f"<span>{dot(colour)}{escape(name)} {show_duration(seconds)}</span>"


def _phase_of(name: str) -> str:
    """The phase that a program of a plan is."""
    return PROGRAM_PHASES.get(name.partition("-")[0], name)


@dataclass(frozen=True, slots=True)
class RunPage:
    """All of a run's page."""

    live: Live
    rest: Markup
    checkpoints: tuple[tuple[str, str], ...]
    url: str
    missing: tuple[str, ...]


def run_page(run: Run, now: float | None = None) -> RunPage:
    """Raises LauncherError for a run whose plan can't be read."""
    report = gather(run)
    parts = [("Results", sections.results([report])), ("Time per phase", sections.phases([report]))]
    parts += [("Time per operator", sections.operators([report]))]
    parts += [("Recipe", settings.recipe([report])), ("Environment", settings.environment([report]))]
    rest = "".join(f"<h2>{title}</h2>{content}" for title, content in parts if content)
    return RunPage(
        live=live_of(report, time.time() if now is None else now),
        rest=markup(rest),
        checkpoints=_checkpoints(run),
        url=report.view.url,
        missing=report.missing,
    )


def markup(html: str) -> Markup:
    """What the report has made: it has escaped all foreign text itself."""
    return Markup(html)  # noqa: S704


def _checkpoints(run: Run) -> tuple[tuple[str, str], ...]:
    """Each set with its size, the newest first."""
    try:
        sizes = RunFolder.of(run.entry).sizes("checkpoints/")
    except LauncherError:
        return ()
    totals: dict[str, int] = {}
    for key, size in sizes.items():
        if key.count("/") > 1:
            name = key.split("/")[1]
            totals[name] = totals.get(name, 0) + size
    names = sorted(totals, key=lambda name: (len(name), name), reverse=True)
    return tuple((name, show_bytes(totals[name])) for name in names)


def sparkline(run: Run) -> str:
    """The loss of a run as a small picture."""
    try:
        losses = [row.loss for row in run.metrics() if is_number(row.loss)]
    except LauncherError:
        losses = []
    losses = losses[:: max(1, len(losses) // SPARK_WIDTH)]
    low, high = (min(losses), max(losses)) if losses else (0.0, 0.0)
    scale = (SPARK_HEIGHT - 4) / (high - low) if high > low else 0.0
    step = (SPARK_WIDTH - 4) / max(1, len(losses) - 1)
    points = " ".join(
        f"{2 + i * step:.1f},{SPARK_HEIGHT - 2 - (y - low) * scale:.1f}" for i, y in enumerate(losses)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{SPARK_WIDTH}" height="{SPARK_HEIGHT}" viewBox="0 0 {SPARK_WIDTH} {SPARK_HEIGHT}">'
        f'<polyline fill="none" stroke="#2f6fde" stroke-width="1.5" points="{points}"/></svg>'
    )
