"""`launcher retry`: start the plan of a run again."""

from __future__ import annotations

import argparse

from launcher.cli.common import add_run, out, out_json, say

HELP = """Start the plan of a run again from the beginning, as a new run. Changes of the job file since then have no effect.
To continue from a checkpoint instead: launcher resume."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--follow", action="store_true", help="show progress until it ends")
    parser.add_argument("--json", action="store_true", help="print one JSON object, as submit does")


def run(args: argparse.Namespace) -> int:
    from launcher.api import find
    from launcher.cli.common import run_json
    from launcher.cli.follow import follow

    again = find(args.run).retry()
    if args.json:
        out_json(run_json(again))
    else:
        out(again.id)
    if args.follow:
        return follow(again)
    if not args.json:
        say(f"submitted; results go to {again.url}\n  follow:  launcher attach {again.id}")
    return 0
