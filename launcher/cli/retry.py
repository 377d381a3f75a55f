"""`launcher retry`: start the plan of a run again."""

from __future__ import annotations

import argparse

from launcher.cli.common import add_run, add_trust, named_run, out, out_json, say

HELP = """Start the plan of a run again from the beginning, as a new run. Changes of the job file since then have no effect.
To continue from a checkpoint instead: launcher resume."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    add_trust(parser)
    parser.add_argument("--follow", action="store_true", help="show progress until it ends")
    parser.add_argument("--json", action="store_true", help="print one JSON object, as submit does")


def run(args: argparse.Namespace) -> int:
    from launcher.cli.common import run_json
    from launcher.cli.follow import follow

    new_run = named_run(args).retry(trust=args.trust)
    if args.json:
        out_json(run_json(new_run))
    else:
        out(new_run.id)
    if args.follow:
        return follow(new_run)
    if not args.json:
        say(f"submitted; results go to {new_run.url}\n  follow:  launcher attach {new_run.id}")
    return 0
