"""`launcher delete`: remove a platform's record of a run."""

from __future__ import annotations

import argparse

from launcher.cli.common import add_run, named_run, say

HELP = """Remove the platform's record of a run that has ended. On some platforms such records count against a quota.

The run's folder with its results stays, and so does its entry in the list of runs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)


def run(args: argparse.Namespace) -> int:
    from launcher.backends import get_backend
    from launcher.backends.base import Platform
    from launcher.errors import UsageError
    from launcher.runs.adopt import adopted

    job = named_run(args)
    backend = get_backend(job.entry.backend)
    entry, why = adopted(job.entry)
    if entry.handle is None or not isinstance(backend, Platform):
        raise UsageError(
            f"no platform keeps a record of {job.id}" + (f": {why}" if why else ""),
            hint="`launcher prune` removes what is on this machine",
        )
    backend.delete(entry.handle)
    say(f"the platform's record of {job.id} is removed; its results are in {job.url}")
    return 0
