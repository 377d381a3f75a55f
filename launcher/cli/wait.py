"""`launcher wait`."""

from __future__ import annotations

import argparse
import time

from launcher.cli.common import add_run, say

HELP = "Block until a run has ended. Exit code: 0 SUCCEEDED, 100 FAILED, 103 CANCELLED, 101 not ended within --timeout."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--timeout", type=float, metavar="S", help="give up after S seconds")


def run(args: argparse.Namespace) -> int:
    from launcher.runs import Index
    from launcher.states import EXIT_CODES, NOT_FINISHED
    from launcher.view import view_of

    index = Index()
    entry = index.find(args.run)
    deadline = None if args.timeout is None else time.monotonic() + args.timeout
    while True:
        view = view_of(entry, index)
        if view.state.terminal:
            say(f"{view.run_id} {view.state}" + (f": {view.reason}" if view.reason else ""))
            return EXIT_CODES[view.state]
        if deadline is not None and time.monotonic() >= deadline:
            say(f"{view.run_id} {view.state}: not ended within {args.timeout:g} s")
            return NOT_FINISHED
        time.sleep(0.5)
