"""`launcher cancel`."""

from __future__ import annotations

import argparse

from launcher.cli.common import add_run, say

HELP = "Stop a run: its ranks save a checkpoint, everything is uploaded, the state becomes CANCELLED. Works from any machine."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--wait", action="store_true", help="block until it has ended")


def run(args: argparse.Namespace) -> int:
    import time

    from launcher.runs import Index
    from launcher.submission import cancel
    from launcher.view import view_of

    index = Index()
    entry = index.find(args.run)
    view = view_of(entry, index)
    if view.state.terminal:
        say(f"{view.run_id} has ended already: {view.state}")
        return 0
    cancel(entry)
    say(f"asked {view.run_id} to stop\n  see how it ends:  launcher status {view.run_id}")
    while args.wait and not view.state.terminal:
        time.sleep(0.3)
        view = view_of(entry, index)
    if args.wait:
        say(f"{view.run_id} {view.state}")
    return 0
