"""How long the command line takes to answer: `python -m benchmarks.cli [RUNS]`, and for one large run `--ranks 8192`.

Whole processes, medians of several runs. Targets, on the clock of a machine that does nothing else: `--help` of every
command under 0.3 s, `check` under 0.5 s, `status` with 10,000 runs in the index under 1 s, and under 0.5 s, also with
100,000 of them, where it need not show all. The time of a core stands beside, for a machine that is busy.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.cli_ranks import measure_ranks
from launcher.backends.base import Handle
from launcher.cli import COMMANDS
from launcher.runfolder.progress import Progress
from launcher.runfolder.states import NodeStatus, RankStatus, RunState, State
from launcher.runs.index import Index, RunEntry, new_run_id
from launcher.storage.address import StoreAddress

ROOT = Path(__file__).parents[1]
REPEATS = 7


class Timing(NamedTuple):
    """Seconds of one command: on the clock, and of a core."""

    wall: float
    cpu: float


def seconds(command: list[str], env: dict[str, str], repeats: int = REPEATS) -> Timing:
    """Medians."""
    times = []
    for _ in range(repeats):
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        subprocess.run(
            command, env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
        )
        wall = time.perf_counter() - start
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append((wall, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime))
    return Timing(statistics.median(t[0] for t in times), statistics.median(t[1] for t in times))


def fill(index: Index, count: int) -> None:
    """An index of ended runs, as `status` leaves it after it has seen them once, and ten that nobody has looked at."""
    now = time.time()
    for number in range(count):
        run_id = new_run_id("bench", now - number * 60)
        url = (index.root.parent / "store" / run_id).as_uri()
        state = RunState(
            run_id=run_id,
            name="bench",
            backend="local",
            state=State.SUCCEEDED,
            submitted_at=now,
            updated_at=now,
            results={"last": 0.9},
            url=url,
        )
        node = NodeStatus(
            node=0,
            host="elsewhere",
            pid=1,
            attempt=1,
            phase="done",
            phase_since=now,
            progress=Progress(epoch=25, epochs=25, step=575, steps=575, loss=0.6, top1=0.9),
            ranks=(RankStatus(rank=0, phase="done", step=575),),
            updated_at=now,
        )
        entry = RunEntry(
            run_id=run_id,
            name="bench",
            backend="local",
            submitted_at=now,
            store=StoreAddress(url=url),
            work_dir=str(index.root.parent / "work"),
            handle=Handle(backend="local", host="elsewhere", data={"pid": 1, "started": ""}),
            final=state if number >= 10 else None,
            final_nodes=(node,) if number >= 10 else None,
        )
        index.put(entry)


def measure(runs: int) -> list[tuple[str, Timing, float | None]]:
    """Name, timing and target of each command."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "LAUNCHER_HOME": folder}
        launcher = [sys.executable, "-m", "launcher"]

        def row(words: str, target: float | None, repeats: int = REPEATS, note: str = "") -> None:
            timing = seconds([*launcher, *words.split()], env, repeats)
            rows.append((f"launcher {words}{note}", timing, target))

        rows: list[tuple[str, Timing, float | None]] = []
        rows.append(("python -c pass", seconds([sys.executable, "-c", "pass"], env), None))
        rows.append(("import launcher", seconds([sys.executable, "-c", "import launcher"], env), None))
        row("--help", 0.3)
        for name in COMMANDS:
            row(f"{name} --help", 0.3, 3)
        row("check jobs/tnt_s_8p.yaml", 0.5)
        row("submit jobs/tnt_s_8p.yaml --dry-run", None)
        fill(Index(Path(folder) / "runs"), runs)
        row("status", 0.5, 3)
        row("status --limit 0", None, 1, ", for the first time")
        row("status --limit 0", 1.0, 3)
        row("status --limit 0 --json", 1.0, 3)
        row("status --state running", None, 1, ", for the first time")
        row("status --state running", 0.5, 3)
        row("status --state failed", 0.5, 3)
        row("__complete status bench", 0.3, 3)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="?", type=int, default=10_000)
    parser.add_argument(
        "--ranks", type=int, help="look at one run of so many ranks, eight to a node, instead"
    )
    args = parser.parse_args()
    if args.ranks:
        measure_ranks(args.ranks)
    else:
        print_rows(args.runs)


def print_rows(runs: int) -> None:
    rows = measure(runs)
    print(f"{runs} runs in the index; load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'command':<48} {'wall':>8} {'cpu':>8} {'target':>8}")
    for name, timing, target in rows:
        verdict = "" if target is None else f"{target:6.1f} s {'met' if timing.wall < target else 'MISSED'}"
        print(f"{name:<48} {timing.wall:6.3f} s {timing.cpu:6.3f} s {verdict}")


if __name__ == "__main__":
    main()
