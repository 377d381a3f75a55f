"""`launcher report`: one HTML page on one run or several."""

from __future__ import annotations

import argparse

from launcher.cli.common import add_store_of_run, out, say, store_of_run

HELP = """Write one HTML page on a run: curves, results, time per phase, the recipe with the origin of each value, the
environment, failures. Several runs are compared on one page. The page loads no other file."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="*",
        help="run id, unique prefix, 'last', or URL of the run's folder; default: last",
    )
    parser.add_argument("--group", default="", metavar="NAME", help="all runs of a sweep")
    add_store_of_run(parser)
    parser.add_argument(
        "--out", metavar="FILE", help="file to write, - for stdout; default: report-<run id>.html"
    )


def run(args: argparse.Namespace) -> int:
    import sys
    from pathlib import Path

    from launcher.api import find, list_runs
    from launcher.disk import write_text
    from launcher.errors import NoSuchRun
    from launcher.report.gather import gather
    from launcher.report.page import page

    names = args.runs or ([] if args.group else ["last"])
    chosen = [find(each, store_of_run(args, each) if "/" in each else None) for each in names]
    if args.group:
        members = [each for each in list_runs() if each.entry.group == args.group]
        chosen += sorted(members, key=lambda each: each.entry.submitted_at)
        if not chosen:
            raise NoSuchRun(f"no run of group '{args.group}' in the index of this machine")
    reports = [gather(each) for each in {each.url: each for each in chosen}.values()]
    text = page(reports)
    if args.out == "-":
        sys.stdout.write(text)
        return 0
    path = Path(args.out or f"report-{args.group or reports[0].view.run_id}.html")
    write_text(path, text)
    out(str(path))
    for report in reports:
        if report.missing:
            say(f"{report.view.run_id}: could not be read: {', '.join(report.missing)}")
    return 0
