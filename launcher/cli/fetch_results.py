"""`launcher fetch-results`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from launcher.cli.common import add_run, out_json, say

if TYPE_CHECKING:
    from launcher.fetch import FetchProgress

HELP = """Download a run's results and verify every file against the run's manifest.

Works from any machine that can read the store, resumes where it was interrupted, and never leaves half a file
under its final name."""

ONLY = ("checkpoints", "best", "eval", "export", "logs")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "--to",
        metavar="DIR",
        required=True,
        help="folder to write to; it may hold an earlier fetch of the same run",
    )
    parser.add_argument("--only", choices=ONLY, help="a part of the results")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from launcher.fetch import fetch
    from launcher.runs import Index
    from launcher.units import show_bytes

    entry = Index().find(args.run)
    target = Path(args.to)
    report = fetch(entry.store.open(), target, only=args.only, progress=None if args.json else _show)
    if sys.stderr.isatty() and not args.json:
        sys.stderr.write("\r\x1b[K")
    if args.json:
        out_json(
            {
                "run_id": entry.run_id,
                "to": str(target.resolve()),
                "files": report.files,
                "bytes": report.bytes,
                "committed": report.committed,
            }
        )
        return 0
    say(f"{report.files} files, {show_bytes(report.bytes)}, each verified, in {target}")
    if not report.committed:
        say("the run has not committed its results yet: these are the complete ones so far")
    return 0


def _show(progress: FetchProgress) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{progress.files_done}/{progress.files_total} files")
        sys.stderr.flush()
