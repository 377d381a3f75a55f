"""What uploads cost a rank: `python benchmarks/uploads.py [--gib 2] [--rounds 3] [--folder DIR]`, or with `--files 5000`.

A rank of made-up work (matrix products that fill its caches) is pinned to one core; the uploader, in a process of its own as
in a run, and `rclone serve s3` share the other one. Stretches with and without an upload alternate; the figure is the median
time of a step with the upload going on, beside that without: on the clock, and of the core, which other work on a busy machine
does not spoil. The target is less than 2 %.

With `--files` the same is asked of a whole run: a program of one's own that computes, and writes so many small files and one of
`--gib`, by itself and with the launcher, in turns. Both sides are CPU time: of the rank, and of the node program that uploads,
with half as many small files, too, since its work must grow with their number and not with its square.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np  # after its setting

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from launcher.runs.index import Index  # noqa: E402  # after the path
from launcher.runs.view import view_of  # noqa: E402
from launcher.submission.launch import submit  # noqa: E402
from launcher.submission.prepare import prepare  # noqa: E402
from tests.servers.rundir import RunDir  # noqa: E402
from tests.servers.s3 import rclone_server  # noqa: E402

UPLOADER = """
import os, sys
from pathlib import Path
os.sched_setaffinity(0, {int(sys.argv[3])})
from launcher.results.collector import Collector
from launcher.storage import open_store
Collector(Path(sys.argv[2]), open_store(sys.argv[1]), attempt=1).sync(final=True, budget_s=600)
"""
SIDE = 384
PROGRAM = """
import json, os, resource, sys
import numpy as np
files, mib = int(sys.argv[1]), int(sys.argv[2])
a, b = np.random.default_rng(1).normal(size=(2, 256, 256)).astype(np.float32)
block = os.urandom(1 << 20)
os.mkdir("small")
with open("large.bin", "wb") as large:
    for number in range(files):
        for _ in range(int(sys.argv[4])):
            a = np.tanh(a @ b)
        with open(f"small/{number}.bin", "wb") as small:
            small.write(block[number : number + 4096])
        for _ in range(mib * number // files, mib * (number + 1) // files):
            large.write(block)
used = resource.getrusage(resource.RUSAGE_SELF)
with open(sys.argv[3], "w") as result:
    json.dump(used.ru_utime + used.ru_stime, result)
"""
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Size:
    """What the program writes, and how often it multiplies for each small file."""

    files: int
    mib: int
    products: int = 4

    def words(self, result: Path) -> list[str]:
        return ["program.py", str(self.files), str(self.mib), str(result), str(self.products)]


@dataclass(frozen=True)
class Run:
    """CPU seconds of a program and of the node program beside it."""

    rank: float
    node: float


def alone(root: Path, size: Size) -> float:
    """CPU seconds of the program without the launcher."""
    with tempfile.TemporaryDirectory(dir=root) as name:
        folder = Path(name)
        (folder / "program.py").write_text(PROGRAM)
        result = folder / "result.json"
        subprocess.run([sys.executable, *size.words(result)], cwd=folder, check=True)
        return float(json.loads(result.read_text()))


def launched(root: Path, size: Size) -> Run:
    """CPU seconds of the program as a run on this machine, and of its node program up to the end of the run."""
    with tempfile.TemporaryDirectory(dir=root) as name:
        folder = Path(name)
        os.environ["LAUNCHER_HOME"] = str(folder / "home")
        (folder / "job").mkdir()
        (folder / "job/program.py").write_text(PROGRAM)
        result = folder / "result.json"
        job = {
            "name": "uploads",
            "program": ["python", *size.words(result)],
            "requires": ["numpy"],
            "env": {"OPENBLAS_NUM_THREADS": "1"},
            "output": {"url": str(folder / "runs"), "upload_every": "5s"},
        }
        (folder / "job.yaml").write_text(json.dumps(job))
        index = Index()
        entry = submit(prepare(folder / "job.yaml", cwd=folder / "job"), index)
        used = 0.0
        while (now := cpu_seconds(entry.handle.data["pid"])) is not None:
            used = now
            time.sleep(0.1)
        view = view_of(entry, index)
        assert view.state == "SUCCEEDED", view.reason
        assert not view.unsafe, view.unsafe
        return Run(json.loads(result.read_text()), used)


def cpu_seconds(pid: int) -> float | None:
    """What a process has used so far, without its children; None when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else (int(fields[11]) + int(fields[12])) / TICKS


def many_files(root: Path, files: int, mib: int, rounds: int) -> None:
    """Alternates the three kinds of run and prints their ratios."""
    ratios, costs = [], {files // 2: [], files: []}
    base = [launched(root, Size(1, 0, 0)).node for _ in range(rounds)]
    for number in range(1, rounds + 1):
        single, run = alone(root, Size(files, mib)), launched(root, Size(files, mib))
        ratios.append(run.rank / single)
        for count, cost in costs.items():
            cost.append(launched(root, Size(count, 0, 0)).node - statistics.median(base))
        print(
            f"round {number}: rank {single:.2f} s of CPU alone, {run.rank:.2f} s with the launcher, whose node program used "
            f"{run.node:.2f} s; small files alone {costs[files // 2][-1]:.2f} s ({files // 2}), {costs[files][-1]:.2f} s ({files})",
            flush=True,
        )
    half, whole = (statistics.median(costs[count]) for count in (files // 2, files))
    print(
        f"median of {rounds} rounds: the rank {100 * (statistics.median(ratios) - 1):+.1f} % of its CPU time; the node program "
        f"{1e3 * half / (files // 2):.2f} ms a file with {files // 2}, {1e3 * whole / files:.2f} with {files}: "
        f"twice the files cost {whole / half:.2f} times as much"
    )


def step(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Seconds of one step: on the clock, and of the core."""
    begun, used = time.perf_counter(), time.thread_time()
    for _ in range(4):
        a = np.tanh(a @ b)
    return time.perf_counter() - begun, time.thread_time() - used


def medians(steps: list[tuple[float, float]]) -> tuple[float, float]:
    """Of both."""
    return statistics.median(each[0] for each in steps), statistics.median(each[1] for each in steps)


def checkpoints(root: Path, gib: float, rounds: int) -> None:
    """Alternates stretches with and without the upload of a checkpoint set."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("needs two cores")
    mine, other = cores[0], cores[-1]
    random = np.random.default_rng(1)
    a, b = random.normal(size=(2, SIDE, SIDE)).astype(np.float32)
    (root / "store/bucket").mkdir(parents=True)
    os.sched_setaffinity(0, {other})  # the server inherits it
    with rclone_server(root / "store") as server:
        os.sched_setaffinity(0, {mine})
        run = RunDir(root / "run")
        ratios = []
        for number in range(1, rounds + 1):
            run.checkpoint(number, files=4, size=int(gib * (1 << 28)))
            alone = [step(a, b) for _ in range(300)]
            begun = time.perf_counter()
            command = [sys.executable, "-c", UPLOADER, "s3://bucket/run", str(run.root), str(other)]
            with subprocess.Popen(command, env={**os.environ, **server.env}, cwd=ROOT) as uploader:
                during = []
                while uploader.poll() is None:
                    during.append(step(a, b))
            seconds = time.perf_counter() - begun
            alone += [step(a, b) for _ in range(300)]
            assert uploader.returncode == 0
            clock, core = medians(alone)
            clock_up, core_up = medians(during)
            ratios.append((clock_up / clock, core_up / core))
            print(
                f"{gib:g} GiB in {seconds:.1f} s: a step {clock * 1e3:.2f} ms ({core * 1e3:.2f} of the core) alone, "
                f"{clock_up * 1e3:.2f} ({core_up * 1e3:.2f}) during the upload"
            )
            run.drop(number)
    clock, core = medians(ratios)
    print(
        f"median of {len(ratios)} rounds: {100 * (clock - 1):+.1f} % on the clock, {100 * (core - 1):+.1f} % of the core"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, help="measure a whole run with so many small files")
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    args = parser.parse_args()
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        if args.files:
            many_files(Path(name), args.files, int(args.gib * 1024), args.rounds)
        else:
            checkpoints(Path(name), args.gib, args.rounds)


if __name__ == "__main__":
    main()
