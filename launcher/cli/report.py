"""`launcher report`: one HTML page on one run or several."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence

from launcher.cli.common import add_runs_to_read, named_runs, out, say

HELP = """Write one HTML page on a run: curves, results, time per phase, the recipe with the origin of each value, the
environment, failures. Several runs are compared on one page. The page loads no other file."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_runs_to_read(parser)
    parser.add_argument("--group", default="", metavar="NAME", help="all runs of a sweep")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="file to write, - for stdout; default: report-<run id>.html, of several runs report-<run id>-and-<others>.html",
    )


def run(args: argparse.Namespace) -> int:
    import sys
    from pathlib import Path

    from launcher.api import list_runs
    from launcher.disk import write_text
    from launcher.errors import NoSuchRun
    from launcher.report.gather import gather
    from launcher.report.page import page
    from launcher.runs.nogc import no_gc

    names = args.runs or ([] if args.group else ["last"])
    chosen = named_runs(args, names)
    if args.group:
        members = [each for each in list_runs() if each.entry.group == args.group]
        chosen += sorted(members, key=lambda each: each.entry.submitted_at)
        if not chosen:
            raise NoSuchRun(f"no run of group '{args.group}' in the index of this machine")
    with no_gc():
        reports = [gather(each) for each in {each.url: each for each in chosen}.values()]
        text = page(reports)
    if args.out == "-":
        sys.stdout.write(text)
        return 0
    path = Path(args.out or f"report-{args.group or _name([each.view.run_id for each in reports])}.html")
    write_text(path, text)
    out(str(path))
    for report in reports:
        if report.missing:
            say(f"{report.view.run_id}: could not be read: {', '.join(report.missing)}")
    return 0


def _name(run_ids: Sequence[str]) -> str:
    """The name of a run, or one of the comparison of just these runs, which is short however many they are."""
    first, *others = run_ids
    if len(others) < 2:
        return "-and-".join(run_ids)
    digest = hashlib.sha256("\n".join(run_ids).encode()).hexdigest()[:8]
    return f"{first}-and-{len(others)}-others-{digest}"
