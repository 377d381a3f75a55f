"""`launcher resume`: continue a run that has ended."""

from __future__ import annotations

import argparse

from launcher.cli.common import add_run, add_trust, named_run, out, say

HELP = (
    "Continue a run that failed or was cancelled from its newest complete checkpoint, under the same run id."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    add_trust(parser)
    parser.add_argument("--follow", action="store_true", help="show progress until it ends")
    parser.add_argument(
        "--force",
        action="store_true",
        help="take over a run in state UNKNOWN, whose machine can't be reached",
    )


def run(args: argparse.Namespace) -> int:
    from launcher.cli.follow import follow

    resumed = named_run(args).resume(force=args.force, trust=args.trust)
    out(resumed.id)
    if args.follow:
        return follow(resumed)
    say(f"resumed\n  follow:  launcher attach {resumed.id}")
    return 0
