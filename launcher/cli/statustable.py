"""The table of runs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from launcher.cli.style import STATE_STYLES, Column, coloured, table, width_of
from launcher.runs.activity import activity_text, best_top1
from launcher.units import show_duration

if TYPE_CHECKING:
    from launcher.runs.view import RunView

COLUMNS = (
    Column("RUN"),
    Column("STATE"),
    Column("ATT", rank=7, right=True),
    Column("EPOCH", rank=1, right=True),
    Column("STEP", rank=5, right=True),
    Column("LOSS", rank=4, right=True),
    Column("TOP-1", rank=2, right=True),
    Column("IMG/S", rank=6, right=True),
    Column("LEFT", rank=3, right=True),
    Column("AGE", rank=5, right=True),
    Column("NOW", flexible=True, least=20),
)

NARROW = 100


def table_of(found: Sequence[RunView], ids: Sequence[str] = ()) -> str:
    """Fits the terminal: columns of less weight go first. Without a terminal every column is there. In a table of one group the swept values have one each.

    On a terminal of less than 100 columns a run is named by what tells it from all `ids`, which every command takes.
    """
    one_group = len({view.group for view in found}) == 1
    keys = list(dict.fromkeys(key for view in found for key in view.labels)) if one_group else []
    columns = [COLUMNS[0], COLUMNS[1], *(Column(key, rank=0) for key in keys), *COLUMNS[2:]]
    colour = coloured()
    now, width = time.time(), width_of()
    names = unique_prefixes(ids) if width is not None and width < NARROW else {}
    best = _best_of_groups(found)
    rows, styles = [], []
    for view in found:
        run_id, state, *rest = _row(view, names.get(view.run_id, view.run_id), view.run_id in best, now)
        labels = [view.labels.get(key, "") for key in keys]
        rows.append([run_id, state, *labels, *rest])
        styles.append(["", STATE_STYLES.get(state, ""), *[""] * (len(columns) - 3), "dim"])
    return table(columns, rows, width=width, styles=styles, colour=colour)


def unique_prefixes(ids: Iterable[str]) -> dict[str, str]:
    """For each id the shortest beginning, up to a `-` or the end, that no other id has."""
    ordered = sorted(set(ids))  # whoever shares a beginning with an id stands right beside it
    prefixes = {}
    for before, run_id, after in zip(["", *ordered], ordered, [*ordered[1:], ""], strict=False):
        beginnings = (run_id[:end] for end, letter in enumerate(run_id) if letter == "-")
        alone = (each for each in beginnings if not (before.startswith(each) or after.startswith(each)))
        prefixes[run_id] = next(alone, run_id)
    return prefixes


def _best_of_groups(found: Sequence[RunView]) -> set[str]:
    """The run of the highest top-1 of each group of two or more."""
    groups: dict[str, list[tuple[float, str]]] = {}
    for view in found:
        top1 = best_top1(view)
        if view.group and top1 is not None:
            groups.setdefault(view.group, []).append((top1, view.run_id))
    return {max(members)[1] for members in groups.values() if len(members) > 1}


def _row(view: RunView, name: str, best: bool, now: float) -> list[str]:
    progress = view.progress
    running = not view.state.terminal
    top1 = best_top1(view)
    return [
        name,
        str(view.state),
        str(view.attempt) if view.attempt > 1 else "",
        _of(progress.epoch, progress.epochs),
        _of(progress.step, progress.steps),
        f"{progress.loss:.3f}" if progress.loss is not None else "",
        f"{'* ' if best else ''}{100 * top1:.2f} %" if top1 is not None else "",
        f"{progress.images_per_s:.0f}" if running and progress.images_per_s is not None else "",
        show_duration(progress.eta_s) if running and progress.eta_s is not None else "",
        show_duration(now - view.submitted_at) if view.submitted_at else "",
        activity_text(view, now),
    ]


def _of(count: int | None, total: int | None) -> str:
    if count is None:
        return ""
    return f"{count}/{total}" if total else str(count)
