"""What uploads cost a rank: `python benchmarks/uploads.py [--gib 2] [--rounds 3] [--folder DIR]`.

A rank of made-up work (matrix products that fill its caches) is pinned to one core; the uploader, in a process of its own as
in a run, and `rclone serve s3` share the other one. Stretches with and without an upload alternate; the figure is the median
time of a step with the upload going on, beside that without: on the clock, and of the core, which other work on a busy machine
does not spoil. The target is less than 2 %.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np  # after its setting

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.servers.rundir import RunDir  # noqa: E402  # after the path
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


def step(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Seconds of one step: on the clock, and of the core."""
    begun, used = time.perf_counter(), time.thread_time()
    for _ in range(4):
        a = np.tanh(a @ b)
    return time.perf_counter() - begun, time.thread_time() - used


def medians(steps: list[tuple[float, float]]) -> tuple[float, float]:
    """Of both."""
    return statistics.median(each[0] for each in steps), statistics.median(each[1] for each in steps)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    args = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        parser.error("needs two cores")
    mine, other = cores[0], cores[-1]
    random = np.random.default_rng(1)
    a, b = random.normal(size=(2, SIDE, SIDE)).astype(np.float32)
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        root = Path(name)
        (root / "store/bucket").mkdir(parents=True)
        os.sched_setaffinity(0, {other})  # the server inherits it
        with rclone_server(root / "store") as server:
            os.sched_setaffinity(0, {mine})
            run = RunDir(root / "run")
            ratios = []
            for number in range(1, args.rounds + 1):
                run.checkpoint(number, files=4, size=int(args.gib * (1 << 28)))
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
                    f"{args.gib:g} GiB in {seconds:.1f} s: a step {clock * 1e3:.2f} ms ({core * 1e3:.2f} of the core) alone, "
                    f"{clock_up * 1e3:.2f} ({core_up * 1e3:.2f}) during the upload"
                )
                run.drop(number)
    clock, core = medians(ratios)
    print(
        f"median of {len(ratios)} rounds: {100 * (clock - 1):+.1f} % on the clock, {100 * (core - 1):+.1f} % of the core"
    )


if __name__ == "__main__":
    main()
