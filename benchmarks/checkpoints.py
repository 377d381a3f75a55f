"""What checkpoints cost the steps beside them: ours and PyTorch's asynchronous save, then uploads; all in one run.

    python benchmarks/checkpoints.py --torch-python .venv-parity/bin/python     # after `make .venv-parity/.installed`

TNT-S with AdamW at 224 pixels: weights and moments, 285 MB, on both sides. Each library trains in a process of its own, which
waits between its turns. A round is, for each: plain steps, a save, and steps until it is on disk. PyTorch's is
`torch.distributed.checkpoint.async_save`, which syncs its files as we do, and makes no digests. For uploads, the run's
collector sends a set of ours to a store, in a process of its own, while ours trains. Figures:

    stall    how long the call that saves keeps the training
    beside   a step while the set is written over a plain one
    whole    all that a save costs on the clock, the stall and what the steps beside it took longer, in plain steps
    CPU      seconds that the process used for a save, beyond its steps: other work on the machine does not spoil them
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.models import CannotRun, Size, Worker  # noqa: E402  # after the path

COLLECT = """
import sys
from pathlib import Path
from launcher.results.collector import Collector
from launcher.storage import open_store
from launcher.threads import give_way
give_way()  # as the node program does
Collector(Path(sys.argv[2]), open_store(sys.argv[1]), attempt=1).sync(final=True, budget_s=600)
"""


@dataclass
class Costs:
    """Seconds of one library's steps and saves, over all rounds."""

    plain: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    stalls: list[float] = field(default_factory=list)
    wholes: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def line(self, name: str) -> str:
        step, stall, beside = (statistics.median(each) for each in (self.plain, self.stalls, self.beside))
        return (
            f"{name:8s} step {step:.2f} s; stall {stall:.3f} s, {100 * stall / step:.1f} % of a step; "
            f"beside {beside:.2f} s, {beside / step:.2f} x; whole {statistics.median(self.wholes):+.2f} steps; "
            f"CPU {statistics.median(self.cpu):.2f} s"
        )


def one_round(worker: Worker, costs: Costs, steps: int) -> None:
    """Plain steps, a save, and steps until it is on disk."""
    plain = worker.run("step", steps)
    usual, used = statistics.median(plain["seconds"]), plain["cpu_s"] / steps
    save = worker.run("save", 1)
    stall, cpu, beside = save["seconds"][0], save["cpu_s"], []
    busy = True
    while busy:
        answer = worker.run("step", 1)
        beside += answer["seconds"]
        cpu += answer["cpu_s"]
        busy = answer["busy"]
    costs.plain += plain["seconds"]
    costs.beside += beside
    costs.stalls.append(stall)
    costs.wholes.append((stall + sum(beside) - usual * len(beside)) / usual)
    costs.cpu.append(cpu - used * len(beside))


def uploads(worker: Worker, folder: Path, rounds: int, steps: int) -> None:
    """Steps with and without the upload of a set, in turns; the sets are those that `worker` has saved."""
    ratios, used = [], []
    for number in range(rounds):
        before = worker.run("step", steps)
        command = [sys.executable, "-c", COLLECT, str(folder / f"store-{number}"), str(folder / "run")]
        during, cpu = [], []
        with subprocess.Popen(command, cwd=ROOT) as collector:
            while collector.poll() is None:
                answer = worker.run("step", 1)
                during += answer["seconds"]
                cpu.append(answer["cpu_s"])
        if collector.returncode:
            sys.exit(f"the upload failed with exit code {collector.returncode}")
        after = worker.run("step", steps)
        usual = statistics.median(before["seconds"] + after["seconds"])
        ratios.append(statistics.median(during) / usual)
        used.append(statistics.median(cpu) / ((before["cpu_s"] + after["cpu_s"]) / (2 * steps)))
    print(
        f"uploads  a step beside one {statistics.median(ratios):.3f} x on the clock, {statistics.median(used):.3f} x "
        f"of CPU; {len(ratios)} uploads"
    )


def main() -> int:
    """Print the figures; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", default="tnt_s_patch16_224")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5, help="saves of each library, and uploads")
    parser.add_argument(
        "--steps", type=int, default=4, help="plain steps before each save and around each upload"
    )
    parser.add_argument("--torch-python", help="interpreter that has timm and torch (default: this one)")
    parser.add_argument(
        "--folder", type=Path, help="where checkpoints are written (default: the temporary folder)"
    )
    args = parser.parse_args()
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        left_out = compare(Path(name), args)
    print(f"load {os.getloadavg()[0]:.1f} at the end")
    for failure in left_out:
        print(f"left out: {failure}")
    return int(any(failure.library == "program" or args.torch_python for failure in left_out))


def compare(folder: Path, args: argparse.Namespace) -> list[CannotRun]:
    """All figures of this machine; returns what can't run, and why."""
    workers: list[tuple[Worker, Costs]] = []
    left_out: list[CannotRun] = []
    try:
        for library, interpreter in (
            ("program", sys.executable),
            ("timm", args.torch_python or sys.executable),
        ):
            try:
                size, env = Size(args.arch, args.batch), {"BENCHMARK_FOLDER": str(folder)}
                worker = Worker(library, size, interpreter, env)
                workers.append((worker, Costs()))
                one_round(worker, Costs(), args.steps)  # compiles, and takes the memory of the first save
            except CannotRun as error:
                left_out.append(error)
                workers = [each for each in workers if each[0].library != error.library]
        for _ in range(args.rounds):
            for worker, costs in workers:
                one_round(worker, costs, args.steps)
        report(workers)
        if workers and workers[0][0].library == "program":
            uploads(workers[0][0], folder, args.rounds, args.steps)
    finally:
        for worker, _ in workers:
            worker.close()
    return left_out


def report(workers: list[tuple[Worker, Costs]]) -> None:
    """A line for each library, and how ours compares."""
    for worker, costs in workers:
        print(costs.line({"program": "ours", "timm": "PyTorch"}[worker.library]), flush=True)
    if len(workers) == 2:
        (_, ours), (_, theirs) = workers
        stall, whole, cpu = (
            statistics.median(getattr(ours, name)) / statistics.median(getattr(theirs, name))
            for name in ("stalls", "wholes", "cpu")
        )
        print(f"ours over PyTorch's: stall {stall:.2f}, whole {whole:.2f}, CPU {cpu:.2f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
