"""`launcher fetch-results`."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from launcher.cli.common import add_run, out_json, say

if TYPE_CHECKING:
    from launcher.results.fetch import FetchProgress

HELP = """Download a run's results and verify every file against the run's manifest.

Works from any machine that can read the store, resumes where it was interrupted, and never leaves half a file
under its final name. Files that an earlier fetch did not write are never overwritten."""

ONLY = ("checkpoints", "best", "eval", "export", "logs")
BAR = 24


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

    from launcher.api import find
    from launcher.units import show_bytes

    fetched = find(args.run)
    target = Path(args.to)
    bar = _Bar(shown=sys.stderr.isatty() and not args.json)
    try:
        report = fetched.fetch(target, only=args.only, progress=bar.show)
    finally:
        bar.clear()
    if args.json:
        out_json(
            {
                "run_id": fetched.id,
                "to": str(target.resolve()),
                "files": report.files,
                "bytes": report.bytes,
                "reused": report.reused,
                "committed": report.committed,
            }
        )
        return 0
    new = f", {report.files - report.reused} of them new" if report.reused else ""
    how = "each verified" if report.committed else "checkpoints verified, the rest as it is now"
    say(f"{report.files} files{new}, {show_bytes(report.bytes)}, {how}, in {target}")
    if not report.committed:
        say("the run has not committed its results yet: these are the complete ones so far")
    return 0


class _Bar:
    """One line that changes in place."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._start = time.monotonic()
        self._had: int | None = None

    def show(self, progress: FetchProgress) -> None:
        if self._had is None:
            self._had = progress.bytes_done
        if self._shown:
            sys.stderr.write(f"\r\x1b[K{bar_text(progress, self._had, time.monotonic() - self._start)}")
            sys.stderr.flush()

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def bar_text(progress: FetchProgress, had: int, seconds: float) -> str:
    """`━━━━━━────── 41 %  12/40 files  310 MB of 1.2 GB  45 MB/s`; `had` bytes were there before."""
    from launcher.units import show_bytes

    share = progress.bytes_done / progress.bytes_total if progress.bytes_total else 1.0
    full = round(BAR * share)
    rate = (progress.bytes_done - had) / seconds if seconds > 0.5 else 0.0
    parts = [
        f"{'━' * full}{'─' * (BAR - full)} {100 * share:3.0f} %",
        f"{progress.files_done}/{progress.files_total} files",
        f"{show_bytes(progress.bytes_done)} of {show_bytes(progress.bytes_total)}",
        f"{show_bytes(rate)}/s" if rate else "",
    ]
    return "  ".join(part for part in parts if part)
