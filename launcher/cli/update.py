"""`launcher update`: change a run that waits or runs."""

from __future__ import annotations

import argparse

from launcher.cli.common import add_run, named_run, say

HELP = """Change the place in the queue of a run that waits or runs, where its platform can. Its job file stays as it is."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--priority", type=int, choices=(1, 2, 3), help="3 is first")
    parser.add_argument(
        "--preemptible", choices=("true", "false"), help="whether jobs of higher priority may push it out"
    )


def run(args: argparse.Namespace) -> int:
    from launcher.backends import get_backend
    from launcher.backends.base import Changes
    from launcher.errors import UsageError
    from launcher.runs.adopt import adopted

    if args.priority is None and args.preemptible is None:
        raise UsageError("nothing to change", hint="give --priority, --preemptible or both")
    job = named_run(args)
    backend = get_backend(job.entry.backend)
    entry, why = adopted(job.entry)
    if entry.handle is None or not isinstance(backend, Changes):
        raise UsageError(f"nothing of {job.id} can be changed while it lives" + (f": {why}" if why else ""))
    preemptible = None if args.preemptible is None else args.preemptible == "true"
    backend.change(entry.handle, priority=args.priority, preemptible=preemptible)
    changed = {"priority": args.priority, "preemptible": args.preemptible}
    say(f"{job.id}: " + ", ".join(f"{key} {value}" for key, value in changed.items() if value is not None))
    return 0
