"""`launcher resume`."""

from __future__ import annotations

import argparse

from launcher.cli.common import add_run, out, say

HELP = "Go on with a run that failed or was cancelled, from its newest complete checkpoint, under the same run id."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--follow", action="store_true", help="show progress until it ends")


def run(args: argparse.Namespace) -> int:
    from launcher.api import find
    from launcher.cli.follow import follow

    resumed = find(args.run).resume()
    out(resumed.id)
    if args.follow:
        return follow(resumed)
    say(f"resumed\n  follow:  launcher attach {resumed.id}")
    return 0
