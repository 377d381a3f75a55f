"""`launcher fetch-results`."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from launcher.cli.common import Line, add_run_to_read, named_run, out_json, say

if TYPE_CHECKING:
    from launcher.results.fetch import FetchProgress

HELP = """Download a run's results and verify every file against the run's manifest.

Works from any machine that can read the store. An interrupted download continues when the command is typed again. A file
gets its final name only when it is complete. Files that no earlier fetch wrote are never overwritten."""

ONLY = ("checkpoints", "best", "eval", "export", "logs", "profile")
BAR = 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_to_read(parser)
    parser.add_argument(
        "--to",
        metavar="DIR",
        help="folder to write to, where an earlier fetch of the same run may be; default: ./<run id>",
    )
    parser.add_argument("--only", choices=ONLY, help="only this part of the results")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from launcher.units import show_bytes

    fetched = named_run(args)
    target = Path(args.to or fetched.id)
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
    proof = "each verified" if report.committed else "checkpoints verified, other files not yet verifiable"
    say(f"{report.files} files{new}, {show_bytes(report.bytes)}, {proof}, in {target}")
    if not report.committed:
        say("the run has not committed its results yet; fetch again after its end for the rest")
    return 0


class _Bar:
    """The progress of a download on one line of the terminal."""

    def __init__(self, *, shown: bool) -> None:
        self._line = Line(shown=shown)
        self._start = time.monotonic()
        self._before: int | None = None

    def show(self, progress: FetchProgress) -> None:
        if self._before is None:
            self._before = progress.bytes_done
        self._line.show(bar_text(progress, self._before, time.monotonic() - self._start))

    def clear(self) -> None:
        self._line.clear()


def bar_text(progress: FetchProgress, before: int, seconds: float) -> str:
    """`━━━━━━────── 41 %  12/40 files  310 MB of 1.2 GB  45 MB/s`; `before` bytes were there at the start."""
    from launcher.units import show_bytes

    share = progress.bytes_done / progress.bytes_total if progress.bytes_total else 1.0
    filled = round(BAR * share)
    rate = (progress.bytes_done - before) / seconds if seconds > 0.5 else 0.0
    parts = [
        f"{'━' * filled}{'─' * (BAR - filled)} {100 * share:3.0f} %",
        f"{progress.files_done}/{progress.files_total} files",
        f"{show_bytes(progress.bytes_done)} of {show_bytes(progress.bytes_total)}",
        f"{show_bytes(rate)}/s" if rate else "",
    ]
    return "  ".join(part for part in parts if part)
