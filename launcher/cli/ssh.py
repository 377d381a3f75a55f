"""`launcher ssh`: a shell on a machine of a run."""

from __future__ import annotations

import argparse

from launcher.cli.common import add_run, named_run, out

HELP = """Log in to a machine of a run that is on a platform which lets people in, with the ssh of this machine.

The section of the platform in the job file names who may; give the private key with -i."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--node", type=int, default=0, metavar="K", help="number of the machine (0)")
    parser.add_argument("-i", "--identity", metavar="FILE", help="private key")
    parser.add_argument("--print", action="store_true", help="only print the command")


def run(args: argparse.Namespace) -> int:
    import os
    import shlex

    from launcher.backends import get_backend
    from launcher.backends.base import Opens
    from launcher.errors import UsageError
    from launcher.runs.adopt import adopted

    job = named_run(args)
    backend = get_backend(job.entry.backend)
    entry, why = adopted(job.entry)
    if entry.handle is None or not isinstance(backend, Opens):
        raise UsageError(
            f"nobody can log in to the machines of {job.id} through launcher" + (f": {why}" if why else "")
        )
    words = ssh_words(backend.address(entry.handle, args.node), args.identity)
    if not args.print:
        os.execvp(words[0], words)  # noqa: S606 - the address was checked, and there is no shell
    out(shlex.join(words))
    return 0


def ssh_words(address: str, identity: str | None) -> list[str]:
    """The command for an address that a platform named. Raises BackendError for one that is no plain address."""
    import re

    from launcher.errors import BackendError

    found = re.fullmatch(
        r"(?:ssh://)?([A-Za-z0-9_][\w.-]*)@([A-Za-z0-9][A-Za-z0-9.-]*)(?::(\d{1,5}))?/?", address
    )
    if found is None:
        raise BackendError(f"the platform names {address!r}, which is no address for ssh")
    user, host, port = found.groups()
    return [
        "ssh",
        *(["-i", identity] if identity else []),
        *(["-p", port] if port else []),
        f"{user}@{host}",
    ]
