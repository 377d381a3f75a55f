"""The live view of one run: past events scroll up; the present state stands below them and changes in place."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from launcher.cli.style import STATE_STYLES, wrap
from launcher.cli.terminal import drawing
from launcher.printable import printable, printable_lines
from launcher.runs.activity import activity_text, best_top1, clock, slow_rank_text, warning_text
from launcher.units import show_duration

if TYPE_CHECKING:
    from launcher.runs.view import RunView

REFRESH_PER_S = 4
MAX_BAR = 40
INDENT = 9


class _SafeConsole(Console):
    """Escapes whatever foreign text came this far; its own sequences pass."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable_lines(segment.text))


class LiveScreen:
    """Draws on stderr, so that stdout holds only results. A context: the last frame is removed at its end."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or _SafeConsole(file=drawing(sys.stderr), highlight=False)
        self._start = time.time()
        self._live = Live(
            console=self._console,
            refresh_per_second=REFRESH_PER_S,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> LiveScreen:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        sys.stderr.flush()

    def line(self, text: str, style: str = "") -> None:
        stamp = clock(time.time() - self._start)
        lines = "\n".join(line.removeprefix(" " * INDENT) for line in text.splitlines())
        words = wrap(lines, INDENT, self._console.width)  # escapes, too
        self._console.print(Text.assemble((stamp, "dim"), "   ", (words, style or "none")), soft_wrap=True)

    def now(self, view: RunView) -> None:
        self._live.update(frame(view, time.time(), self._console.width))

    def trouble(self, text: str) -> None:
        self._live.update(
            Text(f"  {printable(text)}; asking again", style="yellow", no_wrap=True, overflow="ellipsis")
        )


def frame(view: RunView, now: float, width: int) -> RenderableType:
    """The part below the events: the run, its progress, its rates, and its warnings."""
    parts: list[RenderableType] = [Text(""), _head(view, now)]
    bars = Table.grid(padding=(0, 2))
    bars.add_column(no_wrap=True, min_width=8)
    bars.add_column(width=max(10, min(MAX_BAR, width - 44)))
    bars.add_column(no_wrap=True, overflow="ellipsis")
    for label, done, total, words in _bars(view):
        bars.add_row(Text(f"  {label}", style="dim"), ProgressBar(total=total, completed=done), Text(words))
    if bars.row_count:
        parts.append(bars)
    else:
        parts.append(_cut(f"  {activity_text(view, now)}", ""))
    if numbers := _numbers(view):
        parts.append(_cut(f"  {numbers}", ""))
    for text in (slow_rank_text(view), warning_text(view)):
        if text:
            parts.append(_cut(f"  {text}", "yellow"))
    parts.append(_cut("  Ctrl-C detaches; the run goes on", "dim"))
    return Group(*parts)


def _cut(text: str, style: str) -> Text:
    return Text(printable(text), style=style, no_wrap=True, overflow="ellipsis")


def _head(view: RunView, now: float) -> Text:
    text = Text("  ", no_wrap=True, overflow="ellipsis")
    text.append(printable(view.run_id), "bold")
    text.append("  ")
    text.append(str(view.state), STATE_STYLES.get(view.state.value, ""))
    if view.attempt > 1:
        text.append(f"  attempt {view.attempt}", "yellow")
    if view.submitted_at:
        text.append(f"  {show_duration(now - view.submitted_at)}", "dim")
    return text


def _bars(view: RunView) -> list[tuple[str, float, float, str]]:
    """Label, amount done, total, and a text for each bar."""
    if view.phase == "staging":
        staging = view.staging
        if staging is None or staging.percent is None or staging.waiting_for:
            return []
        return [("staging", float(staging.bytes_done), float(staging.bytes_total), staging.words())]
    progress = view.progress
    if view.phase not in ("training", "evaluating") or not progress.step or not progress.steps:
        return []
    remaining = f"{show_duration(progress.eta_s)} left" if progress.eta_s is not None else ""
    percent_done = f"{100 * progress.step / progress.steps:.0f} %"
    bars = [
        (
            "total",
            float(progress.step),
            float(progress.steps),
            ", ".join(filter(None, [percent_done, remaining])),
        )
    ]
    if progress.epoch and progress.epochs and progress.epochs > 1:
        per_epoch = progress.steps / progress.epochs
        inside = min(per_epoch, max(0.0, progress.step - (progress.epoch - 1) * per_epoch))
        words = f"{progress.epoch}/{progress.epochs}, step {inside:.0f}/{per_epoch:.0f}"
        words += ", evaluating" if view.phase == "evaluating" else ""
        bars.insert(0, ("epoch", inside, per_epoch, words))
    return bars


def _numbers(view: RunView) -> str:
    progress = view.progress
    if view.phase not in ("training", "evaluating"):
        return ""
    top1 = best_top1(view)
    parts = [
        f"step {progress.step}" if progress.step is not None and not progress.steps else "",
        f"loss {progress.loss:.4f}" if progress.loss is not None else "",
        f"top-1 {100 * top1:.2f} %" if top1 is not None else "",
        f"{progress.images_per_s:.0f} images/s" if progress.images_per_s is not None else "",
        f"lr {progress.lr:.3g}" if progress.lr is not None else "",
        f"safe step {view.safe_step}" if view.safe_step is not None else "",
        f"safe {view.safe_file.rpartition('/')[2]}" if view.safe_step is None and view.safe_file else "",
    ]
    return "   ".join(part for part in parts if part)
