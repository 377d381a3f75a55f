"""`launcher verify`: compare results or a data set with their manifest."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.cli.common import Line, add_store, opened, out_json, say

if TYPE_CHECKING:
    from launcher.api import Run
    from launcher.findings import Finding
    from launcher.results.verify import VerifyReport

HELP = """Read every file and compare it with its manifest: the results of a run, a packed data set, or a data set that was
staged on this machine (the folder with COMPLETE.json). Exit code 4 when something is missing or damaged.

Files that no manifest names are listed as stray; they are no error. Where the folder of an ended run is on this machine, its files
are compared, too: one that the store lacks is an error."""

SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        metavar="RUN|URL",
        nargs="?",
        default="last",
        help="run id, unique prefix, 'last', or an address or folder; default: last",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_store(parser)


def run(args: argparse.Namespace) -> int:
    line = Line(shown=sys.stderr.isatty() and not args.json)
    try:
        report = _report_on(args, line)
    finally:
        line.clear()
    if args.json:
        out_json(
            {
                "good": report.good,
                "committed": report.committed,
                "files": report.files,
                "bytes": report.bytes,
                "unproven": report.unproven,
                "flaws": [
                    {"key": each.where, "rule": each.rule, "why": each.message} for each in report.findings
                ],
                "stray": list(report.stray),
            }
        )
    else:
        _tell(report)
    return 0 if report.good else 4


def _report_on(args: argparse.Namespace, line: Line) -> VerifyReport:
    from launcher.dataset.shards import read_packed
    from launcher.results.verify import VerifyReport, is_staged, verify_run, verify_staged

    def tell(done: int, total: int) -> None:
        line.show(f"{done} of {total} files")

    if "://" not in args.what and is_staged(Path(args.what)):
        return verify_staged(Path(args.what), tell)
    if "://" in args.what or "/" in args.what:
        store = opened(args, args.what)
        if read_packed(store) is not None:
            from launcher.dataset.verify import verify_packed

            packed = verify_packed(store, jobs=4)  # raises IntegrityError at the first damage
            return VerifyReport(packed.files, packed.payload, (), 0, (), committed=True)
    else:
        from launcher.api import find

        run = find(args.what)
        report = verify_run(run.entry.store.open(), tell)
        return replace(report, findings=(*report.findings, *_only_here(run, report)))
    return verify_run(store, tell)


def _only_here(run: Run, report: VerifyReport) -> list[Finding]:
    """Results of an ended run that its folder on this machine has and the store has not."""
    from launcher.findings import Finding
    from launcher.results.verify import ONLY_HERE
    from launcher.runs.onlyhere import only_here

    here = run.entry.is_here and run.entry.run_dir.plan.exists()
    if not report.committed or not here or not run.view().state.terminal:
        return []
    known = {each.where for each in report.findings}
    return [
        Finding(ONLY_HERE, "error", f"{each.why}, as it is in {run.entry.run_dir.root}", each.name)
        for each in only_here(run.entry)
        if each.name not in known
    ]


def _tell(report: VerifyReport) -> None:
    from launcher.units import show_bytes

    for finding in report.findings[:SHOWN]:
        say(f"{finding.where} {finding.message}")
    if len(report.findings) > SHOWN:
        say(f"and {len(report.findings) - SHOWN} more")
    for key in report.stray[:SHOWN]:
        say(f"stray: {key} is in no manifest")
    if not report.committed:
        say(
            "the run has not committed its results: these are its complete checkpoints and what else is there"
        )
    unproven = f", {report.unproven} of them by size only" if report.unproven else ""
    what = "every file is right" if report.good else f"{len(report.findings)} are damaged or missing"
    say(f"{report.files} files{unproven}, {show_bytes(report.bytes)}: {what}")
