"""From `submit` to the first training step: `python -m benchmarks.launch [--rounds 3] [--ranks 1 2] [--cached]`.

A small ViT on the digits is started with launcher, with `msrun` of MindSpore, and by a shell loop around the same `python -m
vitmodels.train`, in turns in one run. Cold: each way has empty caches (compiled operators, compiled graphs, staged data).
Warm: the same again, with what the first start has left. `msrun` and the loop are as one types them, without MindSpore's compile
cache; with `--cached` both come once more, with that cache turned on by hand and filled. After launcher's cold first step a rank is
killed, and the time to the next step compared with the loop's cold start.

Each moment is read from outside: the events that ranks write, and when the kernel made their processes. `cpu` is what all
processes of a way used until the step, which other work on a busy machine does not spoil.

Targets: at most 1.0 of msrun cold, 0.8 warm, and for a restart 1.0 of the loop's cold start.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from benchmarks.faults.programs import ROOT
from benchmarks.launch_moments import PHASES, Moments, first_step, restart
from benchmarks.launch_ways import Place, start
from benchmarks.models import CannotRun

WAYS = ("launcher", "msrun", "shell")
CACHED = ("msrun+cache", "shell+cache")
RATIOS = (
    ("launcher cold", "msrun cold", 1.0),
    ("launcher cold", "shell cold", None),
    ("launcher warm", "msrun warm", 0.8),
    ("launcher warm", "shell warm", None),
    ("launcher warm", "msrun+cache warm", None),
    ("launcher warm", "shell+cache warm", None),
    ("launcher restart", "shell cold", 1.0),
    ("launcher restart", "msrun cold", None),
)
Table = dict[str, list[Moments]]
"""What was measured, by way and kind of start, one entry per round."""


def one_round(root: Path, data: Path, ranks: int, ways: tuple[str, ...], table: Table) -> list[CannotRun]:
    """Each way cold, then each way warm. What can't run is left out of the rest of the round, and returned."""
    left_out: dict[str, CannotRun] = {}
    for kind in ("cold", "warm"):
        for way in ways:
            if way in left_out:
                continue
            place = Place(root / f"{way.replace('+', '-')}-{kind}", root / f"caches-{way}", data, ranks)
            try:
                measure(way, kind, place, table)
            except CannotRun as error:
                left_out[way] = error
                print(f"  left out: {error}", file=sys.stderr, flush=True)
    return list(left_out.values())


def measure(way: str, kind: str, place: Place, table: Table) -> None:
    """One start up to its first step, and for launcher's cold one the restart. Raises CannotRun."""
    run = start(way, place)
    try:
        _note(f"{way} {kind}", first_step(run), table)
        if (way, kind) == ("launcher", "cold"):
            _note("launcher restart", restart(run), table)
    finally:
        run.end()


def _note(name: str, found: Moments, table: Table) -> None:
    table[name].append(found)
    phases = ", ".join(f"{phase} {seconds:.2f}" for phase, seconds in found.phases.items())
    words = f"  {name} {found.total:.1f} s: {phases}; cpu {found.cpu:.1f} s; load {os.getloadavg()[0]:.1f}"
    print(words, file=sys.stderr, flush=True)


def report(ranks: int, table: Table) -> None:
    """Medians by phase, then ratios."""
    print(f"\n{ranks} rank(s), seconds, medians")
    print(f"{'':<20} {'total':>7} {'best':>7} {'cpu':>7}   " + " ".join(f"{name:>8}" for name in PHASES))
    for name, found in table.items():
        totals = [each.total for each in found]
        cpu = f"{statistics.median(each.cpu for each in found):7.1f}" if "restart" not in name else " " * 7
        phases = " ".join(f"{statistics.median(each.phases[p] for each in found):8.2f}" for p in PHASES)
        print(f"{name:<20} {statistics.median(totals):7.1f} {min(totals):7.1f} {cpu}   {phases}")
    for ours, theirs, target in RATIOS:
        if table.get(ours) and table.get(theirs):
            print(ratio_line(ours, theirs, target, table))


def ratio_line(ours: str, theirs: str, target: float | None, table: Table) -> str:
    """The medians over the rounds, of the clock and of processor time; by the clock the target is judged."""
    pairs = list(zip(table[ours], table[theirs], strict=False))
    wall = statistics.median(a.total / b.total for a, b in pairs)
    text = f"{ours} / {theirs}: {wall:.2f}"
    if "restart" not in ours:
        text += f", cpu {statistics.median(a.cpu / b.cpu for a, b in pairs):.2f}"
    return text if target is None else f"{text}; target {target:.1f} {'met' if wall <= target else 'MISSED'}"


def main() -> int:
    """Prints the tables; 1 when launcher, or a peer, can't run."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.launch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--cached", action="store_true", help="also the peers with MindSpore's compile cache turned on"
    )
    args = parser.parse_args()
    ways = WAYS + (CACHED if args.cached else ())
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    tables: dict[int, Table] = {ranks: defaultdict(list) for ranks in args.ranks}
    left_out: dict[str, CannotRun] = {}
    with tempfile.TemporaryDirectory(prefix="launch-") as name:
        data = Path(name) / "digits"
        command = [sys.executable, "-m", "vitmodels.digits", str(data)]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        for number in range(args.rounds):
            for ranks in args.ranks:
                root = Path(name) / f"{number}-{ranks}"
                order = ways if number % 2 == 0 else ways[::-1]
                left_out |= {str(each): each for each in one_round(root, data, ranks, order, tables[ranks])}
    for phase, words in PHASES.items():
        print(f"  {phase:<8} {words}")
    for ranks, table in tables.items():
        report(ranks, table)
    print(f"load {os.getloadavg()[0]:.1f} at the end")
    for text in left_out:
        print(f"left out: {text}")
    return 1 if left_out else 0


if __name__ == "__main__":
    sys.exit(main())
