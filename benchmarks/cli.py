"""How long the command line takes to answer: `python benchmarks/cli.py [RUNS]`.

Whole processes, medians of several runs, beside the bare start of the interpreter. Targets: `--help` of every command
under 0.3 s, `check` under 0.5 s, `status` with 1,000 runs in the index under 1 s.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from launcher.address import StoreAddress
from launcher.backends.base import Handle
from launcher.cli import COMMANDS
from launcher.progress import Progress
from launcher.runs import Entry, Index, new_run_id
from launcher.states import NodeStatus, RankStatus, RunState, State

ROOT = Path(__file__).parents[1]
REPEATS = 7


def seconds(command: list[str], env: dict[str, str], repeats: int = REPEATS) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(
            command, env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
        )
        times.append(time.perf_counter() - start)
    return statistics.median(times)


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
        entry = Entry(
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


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "LAUNCHER_HOME": folder}
        launcher = [sys.executable, "-m", "launcher"]
        bare = seconds([sys.executable, "-c", "pass"], env)
        rows = [("python -c pass", bare, None), ("launcher --help", seconds([*launcher, "--help"], env), 0.3)]
        rows += [
            (f"launcher {name} --help", seconds([*launcher, name, "--help"], env, 3), 0.3)
            for name in COMMANDS
        ]
        rows.append(
            (
                "launcher check jobs/tnt_s_8p.yaml",
                seconds([*launcher, "check", "jobs/tnt_s_8p.yaml"], env),
                0.5,
            )
        )
        rows.append(
            (
                "launcher submit --dry-run",
                seconds([*launcher, "submit", "jobs/tnt_s_8p.yaml", "--dry-run"], env),
                None,
            )
        )
        fill(Index(Path(folder) / "runs"), runs)
        rows.append((f"launcher status, {runs} runs", seconds([*launcher, "status"], env), 1.0))
        rows.append(
            (
                f"launcher status --json --limit 0, {runs} runs",
                seconds([*launcher, "status", "--json", "--limit", "0"], env),
                1.0,
            )
        )
    print(f"{'command':<46} {'median':>8} {'× python':>9} {'target':>8}")
    for name, median, target in rows:
        verdict = "" if target is None else f"{target:6.1f} s {'met' if median < target else 'MISSED'}"
        print(f"{name:<46} {median:6.3f} s {median / bare:8.1f}x {verdict}")


if __name__ == "__main__":
    main()
