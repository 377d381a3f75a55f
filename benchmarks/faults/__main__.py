"""Command line of the fault campaign."""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import faults
from benchmarks.faults.bench import Bench, one, undisturbed
from benchmarks.faults.injections import FAULTS
from benchmarks.faults.platforms import platform_of
from benchmarks.faults.programs import Program, counter_program, digits_program
from benchmarks.faults.rows import add_row, drop_half_line, read_rows
from benchmarks.faults.run import MOMENTS
from benchmarks.faults.table import table


def main() -> int:
    args = _arguments()
    if args.report:
        print(table([row for path in args.report for row in read_rows(path)]))
        return 0
    done = {row["number"] for row in read_rows(args.out)}
    drop_half_line(args.out)
    end = time.monotonic() + 60 * args.minutes
    folder = args.out.absolute().with_suffix(".work")
    folder.mkdir(parents=True, exist_ok=True)
    with platform_of(args.backend, folder) as platform, ThreadPoolExecutor(args.at_once) as pool:
        bench = Bench(_program(args.program, folder), platform)
        known = folder / "reference.json"
        if not known.exists():
            known.write_text(json.dumps(undisturbed(bench)))
        bench.reference = json.loads(known.read_text())

        def case(number: int) -> None:
            if time.monotonic() >= end:
                return
            try:
                row = one(bench, number, args.seed, args.fault, args.moment)
            except Exception:
                print(f"injection {number} has no row, and comes again with the next start", file=sys.stderr)
                traceback.print_exc()
                return
            _note(args.out, row)

        wanted = [number for number in range(args.first, args.first + args.count) if number not in done]
        for _ in pool.map(case, wanted):
            pass
    return 0


def _program(name: str, folder: Path) -> Program:
    if name == "counter":
        return counter_program()
    return digits_program(folder / "s3" / "bucket", folder / "graphs")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(faults.__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="number of the first injection")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fault", choices=sorted(FAULTS))
    parser.add_argument("--moment", choices=MOMENTS)
    parser.add_argument("--backend", choices=("local", "slurm", "modelarts"), default="local")
    parser.add_argument("--program", choices=("digits", "counter"), default="digits")
    parser.add_argument("--at-once", type=int, default=1, help="runs side by side")
    parser.add_argument("--out", type=Path, default=Path("faults.jsonl"))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no run after so long")
    parser.add_argument("--report", type=Path, nargs="+", help="print the tables of these files")
    return parser.parse_args()


def _note(path: Path, row: dict[str, Any]) -> None:
    add_row(path, row)
    words = "; ".join(row["wrong"]) or "ok"
    print(
        f"{row['number']:>3} {row['fault']:<24} {row['moment']:>10} at {row['phase']:<11} {row['state']:<9} "
        f"{row['seconds']:>6.1f} s  {words}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
