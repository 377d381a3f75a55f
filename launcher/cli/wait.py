"""`launcher wait`: block until a run has ended."""

from __future__ import annotations

import argparse

from launcher.cli.common import add_run_to_read, named_run, say, seconds

HELP = "Block until a run has ended. Exit code: 0 SUCCEEDED, 100 FAILED, 103 CANCELLED, 101 not ended within --timeout."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_to_read(parser)
    parser.add_argument("--timeout", type=seconds, metavar="S", help="stop waiting after S seconds")


def run(args: argparse.Namespace) -> int:
    from launcher.runfolder.states import EXIT_CODES, NOT_FINISHED

    try:
        view = named_run(args).wait(args.timeout)
    except TimeoutError as error:
        say(str(error))
        return NOT_FINISHED
    say(f"{view.run_id} {view.state}" + (f": {view.reason}" if view.reason else ""))
    return EXIT_CODES[view.state]
