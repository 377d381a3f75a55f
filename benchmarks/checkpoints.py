"""What checkpoints cost the steps beside them: ours and PyTorch's asynchronous save, then uploads; all in one run.

    python benchmarks/checkpoints.py --torch-python .venv-parity/bin/python     # after `make .venv-parity/.installed`

TNT-S with AdamW at 224 pixels: weights and moments, 285 MB, on both sides. Each library trains in a process of its own, which
waits between its turns. A round is, for each: plain steps, a save, and steps until it is on disk. PyTorch's is
`torch.distributed.checkpoint.async_save`, which syncs its files as we do, and makes no digests. For uploads, the run's
collector sends two sets of ours to a store, in a process of its own, while ours trains. Figures:

    stall    how long the call that saves keeps the training
    beside   a step while the set is written over a plain one
    whole    all that a save or an upload costs on the clock, a stall and what the steps beside it took longer, in plain steps
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
import sys, time
from pathlib import Path
from launcher.results.collector import Collector
from launcher.storage import open_store
from launcher.threads import give_way
give_way()  # as the node program does, which is long running when it uploads
collector = Collector(Path(sys.argv[2]), open_store(sys.argv[1]), attempt=1)
print(flush=True)
sys.stdin.readline()
used = time.process_time()
report = collector.sync(final=True, budget_s=600)
print(time.process_time() - used, report.bytes / 1e6)
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
    """Plain steps, a save, steps until it is on disk, and plain steps again, since the machine's speed drifts."""
    before = worker.run("step", steps)
    save = worker.run("save", 1)
    stall, cpu, beside = save["seconds"][0], save["cpu_s"], []
    busy = True
    while busy:
        answer = worker.run("step", 1)
        beside += answer["seconds"]
        cpu += answer["cpu_s"]
        busy = answer["busy"]
    after = worker.run("step", steps)
    plain = before["seconds"] + after["seconds"]
    usual, used = statistics.median(plain), (before["cpu_s"] + after["cpu_s"]) / len(plain)
    costs.plain += plain
    costs.beside += beside
    costs.stalls.append(stall)
    costs.wholes.append((stall + sum(beside) - usual * len(beside)) / usual)
    costs.cpu.append(cpu - used * len(beside))


def uploads(worker: Worker, folder: Path, rounds: int, steps: int) -> None:
    """Steps with and without an upload, in turns: that of the sets that `worker` has saved and kept, two."""
    ratios, wholes, used, sizes = [], [], [], []
    for number in range(rounds):
        with collector(folder / f"store-{number}", folder / "run") as process:
            before = worker.run("step", steps)
            print(file=process.stdin, flush=True)
            during: list[float] = []
            while process.poll() is None:
                during += worker.run("step", 1)["seconds"]
            output = process.stdout.read() if process.stdout else ""
        if process.returncode:
            sys.exit(f"the upload failed with exit code {process.returncode}")
        cpu_s, size_mb = map(float, output.split())
        used.append(cpu_s)
        sizes.append(size_mb)
        usual = statistics.median(before["seconds"] + worker.run("step", steps)["seconds"])
        ratios.append(statistics.median(during) / usual)
        wholes.append(sum(during) / usual - len(during))
    print(
        f"uploads  beside {statistics.median(ratios):.2f} x; whole {statistics.median(wholes):+.2f} steps; "
        f"CPU {statistics.median(used):.2f} s, of the process that uploads; {len(ratios)} uploads of "
        f"{statistics.median(sizes):.0f} MB"
    )


def collector(store: Path, run: Path) -> subprocess.Popen[str]:
    """A process that waits for a line before it uploads, and then prints the seconds of CPU."""
    command = [sys.executable, "-c", COLLECT, str(store), str(run)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def main() -> int:
    """Print the figures; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", default="tnt_s_patch16_224")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5, help="saves of each library, and uploads")
    parser.add_argument(
        "--steps", type=int, default=4, help="plain steps before and after each save and upload"
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
