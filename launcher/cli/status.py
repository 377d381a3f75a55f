"""`launcher status`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from launcher.cli.common import add_run, out, out_json, progress_words, results_words, say

if TYPE_CHECKING:
    from launcher.view import RunView

HELP = """State, progress and results of one run, or a table of all.

With --json: one object for a RUN, a list of objects without one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser, optional=True)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help="newest N runs of the table (0: all; default 20)"
    )


def run(args: argparse.Namespace) -> int:
    from itertools import islice

    from launcher.runs import Index
    from launcher.view import view_of, views

    index = Index()
    if args.run:
        view = view_of(index.find(args.run), index)
        if args.json:
            out_json(view.model_dump(mode="json"))
        else:
            out(_detail(view))
        return 0
    limit = args.limit or None
    found = views(list(islice(index.entries(), limit)), index)
    if args.json:
        out_json([view.model_dump(mode="json") for view in found])
        return 0
    if not found:
        say(f"no runs yet in {index.root}\n  start one:  launcher submit jobs/digits_tnt_1p.yaml")
        return 0
    out(_table(found))
    total = len(index.ids())
    if total > len(found):
        say(f"{total - len(found)} older runs: --limit 0 shows all")
    return 0


def _table(found: Sequence[RunView]) -> str:
    rows: list[tuple[str, ...]] = [
        ("RUN", "STATE", "PHASE", "EPOCH", "STEP", "LOSS", "TOP-1", "IMG/S", "LEFT", "AGE")
    ]
    rows += [_row(view) for view in found]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(view: RunView) -> tuple[str, ...]:
    from launcher.units import show_duration

    progress = view.progress
    top1 = view.results.get(
        "checkpoint", progress.top1 if progress.top1 is not None else view.results.get("last")
    )
    running = not view.state.terminal
    return (
        view.run_id,
        str(view.state),
        view.phase or "-",
        f"{progress.epoch}/{progress.epochs}" if progress.epoch is not None else "-",
        str(progress.step) if progress.step is not None else "-",
        f"{progress.loss:.3f}" if progress.loss is not None else "-",
        f"{100 * top1:.2f} %" if top1 is not None else "-",
        f"{progress.images_per_s:.0f}" if running and progress.images_per_s is not None else "-",
        show_duration(progress.eta_s) if running and progress.eta_s is not None else "-",
        show_duration(time.time() - view.submitted_at) if view.submitted_at else "-",
    )


def _detail(view: RunView) -> str:
    from launcher.units import show_duration

    lines = [
        f"{view.run_id}  {view.state}"
        + (f"  {_phase(view)}" if view.phase and not view.state.terminal else "")
    ]

    def add(label: str, text: str) -> None:
        if text:
            lines.append(f"  {label:<9} {text}")

    add("reason", view.reason.replace("\n", "\n            "))
    add("progress", progress_words(view))
    add("results", results_words(view.results))
    add(
        "safe",
        f"checkpoint step {view.safe_step} is in the store, verified"
        if view.safe_step is not None
        else "no checkpoint is in the store yet",
    )
    add("url", view.url)
    if view.submitted_at and view.ended_at:
        add("took", show_duration(view.ended_at - view.submitted_at))
    for attempt in view.attempts if len(view.attempts) > 1 else ():
        came = (
            ""
            if attempt.attempt == 1
            else (
                f" from step {attempt.resumed_step}"
                if attempt.resumed_step is not None
                else " from the beginning"
            )
        )
        add("attempt", f"{attempt.attempt}{came}: {attempt.outcome or 'running'}")
    for node in view.nodes:
        ranks = ", ".join(
            f"rank {r.rank} {r.phase or 'starting'}" + (f" step {r.step}" if r.step is not None else "")
            for r in node.ranks
        )
        add("node", f"{node.node} on {node.host}" + (f": {ranks}" if ranks else ""))
        if node.upload_error:
            add("upload", f"{node.upload_error}; {node.pending_uploads} files are not in the store yet")
    if view.state == "SUCCEEDED":
        add("next", f"launcher fetch-results {view.run_id} --to DIR")
    elif view.state in ("FAILED", "CANCELLED"):
        add("next", f"launcher logs {view.run_id}; launcher resume {view.run_id}")
    return "\n".join(lines)


def _phase(view: RunView) -> str:
    from launcher.units import show_duration

    since = f" for {show_duration(time.time() - view.phase_since)}" if view.phase_since else ""
    return f"{view.phase}{since}" + (f" ({view.detail})" if view.detail else "")
