"""`launcher dashboard`: web pages on all runs, for the user of this machine."""

from __future__ import annotations

import argparse
import sys

from launcher.cli.common import out, say

HELP = """Serve web pages on all runs that this machine knows, and on those of folders in stores: a table with filters, a
live page for each run, comparisons, logs and reports. Only this machine can reach them, with the token in the address that is printed.
They change nothing, unless --allow-cancel is given. Ctrl-C ends it."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")
MIN_TOKEN = 16
FROM_ENVIRONMENT = "LAUNCHER_DASHBOARD_TOKEN"  # a variable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url",
        action="append",
        default=[],
        metavar="URL",
        help="folder of runs in a store (output.url); may be repeated",
    )
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; other machines then need --token"
    )
    parser.add_argument(
        "--token",
        metavar="TOKEN",
        help=f"token of the address, of at least {MIN_TOKEN} characters; default: {FROM_ENVIRONMENT}, else a random one",
    )
    parser.add_argument("--allow-cancel", action="store_true", help="show a button that cancels a run")


def run(args: argparse.Namespace) -> int:
    import importlib.util
    import os
    import secrets

    from launcher.errors import UsageError

    for package in ("starlette", "uvicorn", "jinja2"):
        if importlib.util.find_spec(package) is None:
            raise UsageError(
                f"{package} is not installed here", hint="pip install 'ascend-launcher[dashboard]'"
            )
    token = args.token or os.environ.get(FROM_ENVIRONMENT, "")
    if args.host not in LOOPBACK and not token:
        raise UsageError(
            "other machines could reach this",
            where="--host",
            hint=f"give a token: --token, or {FROM_ENVIRONMENT}",
        )
    if token and (len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable()):
        raise UsageError(f"a token has at least {MIN_TOKEN} plain characters", where="--token")
    if not 0 <= args.port <= 65535:
        raise UsageError("a port is a number from 0 to 65535", where=f"--port {args.port}")
    from launcher.dashboard.app import Settings
    from launcher.dashboard.serve import serve

    settings = Settings(token or secrets.token_urlsafe(24), tuple(args.url), args.allow_cancel)
    serve(settings, args.host, args.port, _tell)
    say("the dashboard has ended; runs go on")
    return 0


def _tell(address: str) -> None:
    """At once, also into a pipe. A person reads what to do with it."""
    out(address)
    sys.stdout.flush()
    if sys.stderr.isatty():
        say("open this address in a browser; Ctrl-C ends the dashboard, and runs go on")
