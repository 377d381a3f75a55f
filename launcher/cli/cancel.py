"""`launcher cancel`: stop a run with a checkpoint."""

from __future__ import annotations

import argparse

from launcher.cli.common import add_run, named_run, say

HELP = """Stop a run: its ranks save a checkpoint, all results are uploaded, and the run becomes CANCELLED.

Works from any machine that can write to the run's folder."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--wait", action="store_true", help="wait until the run has ended")


def run(args: argparse.Namespace) -> int:

    job = named_run(args)
    if (state := job.state).terminal:
        say(f"{job.id} has ended already: {state}")
        return 0
    job.cancel()
    say(f"asked {job.id} to stop\n  see how it ends:  launcher status {job.id}")
    if args.wait:
        say(f"{job.id} {job.wait(poll_s=0.3).state}")
    return 0
