"""`launcher attach`."""

from __future__ import annotations

import argparse

from launcher.cli.common import add_run_to_read, named_run

HELP = "Follow a run's progress until it ends, and exit with its code. Ctrl-C detaches; the run goes on."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_to_read(parser)


def run(args: argparse.Namespace) -> int:
    from launcher.cli.follow import follow

    return follow(named_run(args))
