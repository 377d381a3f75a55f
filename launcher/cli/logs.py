"""`launcher logs`."""

from __future__ import annotations

import argparse

from launcher.cli.common import add_run, out

HELP = """Print a run's logs, each line with the name of its log in front: node-0/rank-1 | epoch 3 …

Reads the run's directory on this machine while it runs here, else its folder in the store."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run ends")
    parser.add_argument("--rank", type=int, metavar="R", help="only this rank")
    parser.add_argument("--attempt", type=int, metavar="A", help="only this attempt")
    parser.add_argument("--tail", type=int, metavar="N", help="only the last N lines of each log")


def run(args: argparse.Namespace) -> int:
    import time

    from launcher.logs import LogReader
    from launcher.runs import Index
    from launcher.view import view_of

    index = Index()
    entry = index.find(args.run)
    reader = LogReader(entry, rank=args.rank, attempt=args.attempt)
    _print(reader.read(), args.tail)
    while args.follow:
        ended = view_of(entry, index).state.terminal
        _print(reader.read(), None)
        if ended:
            break
        time.sleep(0.5)
    return 0


def _print(logs: dict[str, list[str]], tail: int | None) -> None:
    for name, lines in logs.items():
        for line in lines[-tail:] if tail else lines:
            out(f"{name} | {line}")
