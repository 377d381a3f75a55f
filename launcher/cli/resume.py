"""`launcher resume`."""

from __future__ import annotations

import argparse

from launcher.cli.common import add_run, out, say

HELP = "Go on with a run that FAILED or was CANCELLED, from its newest complete checkpoint, as a new attempt of the same run."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "--follow", action="store_true", help="show progress until the run ends, and exit with its code"
    )


def run(args: argparse.Namespace) -> int:
    from launcher.follow import follow
    from launcher.runs import Index
    from launcher.submission import resume

    index = Index()
    entry = resume(index.find(args.run), index)
    out(entry.run_id)
    if args.follow:
        return follow(entry)
    say(f"resumed\n  follow:  launcher attach {entry.run_id}")
    return 0
