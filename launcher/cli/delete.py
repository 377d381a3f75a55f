"""`launcher delete`."""

from __future__ import annotations

import argparse

from launcher.cli.common import add_run, say

HELP = """Remove a platform's record of a run that has ended, which counts against the account's quota.

The run's folder with its results stays, and so does the index of runs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)


def run(args: argparse.Namespace) -> int:
    from launcher.api import find
    from launcher.backends import get_backend
    from launcher.backends.base import Platform
    from launcher.errors import UsageError
    from launcher.runs.adopt import adopted

    job = find(args.run)
    backend = get_backend(job.entry.backend)
    entry, why = adopted(job.entry)
    if entry.handle is None or not isinstance(backend, Platform):
        raise UsageError(
            f"no platform keeps a record of {job.id}" + (f": {why}" if why else ""),
            hint="`launcher prune` removes what is on this machine",
        )
    backend.delete(entry.handle)
    say(f"the platform has forgotten {job.id}; its results are in {job.url}")
    return 0
