"""What the command line costs for one large run: `python -m benchmarks.cli --ranks 8192`, eight ranks to a node.

The run lies on this disk as an ended run lies there: a status of each node, a log of each rank with the times of its lines; its store does not
answer. Three times: it succeeded; one rank failed; all ranks ended with a traceback, each with times and a peer of its own. Targets: 1 s of a core
and 300 MB for each command.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from launcher.runfolder.logtimes import times_name
from launcher.runfolder.progress import Progress
from launcher.runfolder.states import RankStatus, State
from tests.launcher.samples import NOW, Sample

PER_NODE, FIRST = 8, 7
TRACEBACK = """Traceback (most recent call last):
  File "train.py", line 3, in <module>
    main()
RuntimeError: Distribute group failed, EI0002: The wait execution of the Notify register times out. Reason: The Notify \
register has not received the Notify record from remote rank [{peer}].
"""
NOBODY, ONE, ALL = "succeeded", "one rank failed", "all ranks failed"
TARGET_S, TARGET_MB = 1.0, 300.0


def write_log(sample: Sample, rank: int, ranks: int, who_failed: str) -> None:
    """The log of a rank, whose lines no other rank has, and the times of its lines."""
    part = rank % 1000
    text = "".join(
        f"2026-11-28 10:00:{second:02},{part:03} step {second} loss {1 + rank / ranks:.4f}\n"
        for second in range(20)
    )
    if rank == FIRST and who_failed != NOBODY:
        text += "ValueError: no\n"
    elif who_failed == ALL:
        text += TRACEBACK.format(peer=(rank + 1) % ranks)
    path = sample.log(f"rank-{rank}", text, node=rank // PER_NODE)
    path.with_name(times_name(path.name)).write_text(
        f"0 1795860000.{part:03}\n{len(text) // 2} 1795860020.{part:03}\n"
    )


def write_run(folder: Path, nodes: int, who_failed: str) -> str:
    """An ended run on this disk; its id."""
    (folder / "train.py").write_text("")
    (folder / ".launcherignore").write_text("/home\n/table.json\n/report.html\n")
    resources = {"backend": "slurm", "nodes": nodes, "devices_per_node": PER_NODE, "device": "ascend910"}
    sample = Sample(folder, resources=resources, output={"url": "s3://bucket/runs"})
    snapshot = sample.plan.snapshot and sample.plan.snapshot.model_copy(update={"digest": "0" * 64})
    plan = sample.plan.model_copy(
        update={"snapshot": snapshot}
    )  # as submitted: its store is asked for the files
    sample.write("plan.json", plan.model_dump_json())
    if who_failed != NOBODY:
        failure = {"process": f"rank {FIRST}", "rank": FIRST, "node": 0, "exit": 1, "line": "ValueError: no"}
        sample.state(State.FAILED, f"rank {FIRST} failed", first_failure=failure)
    for node in range(nodes):
        ranks = range(node * PER_NODE, (node + 1) * PER_NODE)
        sample.node(
            node=node,
            host=f"m{node}",
            progress=Progress(epoch=1, epochs=2, step=50, steps=100, loss=1.0),
            ranks=tuple(RankStatus(rank=rank, phase="training", step=50) for rank in ranks),
        )
        for rank in ranks:
            write_log(sample, rank, nodes * PER_NODE, who_failed)
        sample.log("node", "2026-11-28 10:00:00,000 the ranks start\n", node=node)
    sample.metrics(*({"t": NOW + step, "step": step, "loss": 1.0 / (step + 1)} for step in range(100)))
    return sample.plan.run_id


def write_addresses(path: Path, nodes: int) -> None:
    """An address of each device, as `rank-table generate --addresses` reads them."""
    text = ""
    for node in range(nodes):
        high, low = divmod(node, 250)
        text += f"10.{high}.{low}.1:\n"
        text += "".join(f"  {device}: 10.{100 + device}.{high}.{low + 1}\n" for device in range(PER_NODE))
    path.write_text(text)


def cost(words: list[str], folder: Path) -> tuple[float, float]:
    """Seconds of a core and MB at most, of one command typed in a folder."""
    command = [sys.executable, "-m", "launcher", *words]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"launcher {' '.join(words)} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def asked_of_files(folder: Path) -> Iterator[list[str]]:
    """What is asked of a job file and of a table of such a run."""
    job, tables = str(folder / "job.yaml"), str(folder / "table.json")
    yield ["check", job]
    yield ["submit", job, "--dry-run"]
    yield ["rank-table", "generate", "--addresses", str(folder / "addresses.yaml"), "-o", tables]
    yield ["rank-table", "lint", tables]
    yield ["rank-table", "show", tables]
    yield ["render", job]


def asked_of_run(folder: Path, run: str) -> Iterator[list[str]]:
    """What reads the statuses of all nodes, and what reads the logs of all ranks."""
    yield from (["status", run], ["status", run, "--json"])
    yield ["explain", run]
    yield ["report", run, "--out", str(folder / "report.html")]
    yield ["logs", run]
    yield ["logs", run, "--errors"]


def measure_ranks(ranks: int) -> None:
    """Print the table."""
    nodes = ranks // PER_NODE
    print(
        f"{nodes} nodes of {PER_NODE} ranks; load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    print(f"{'command':<58} {'core':>8} {'memory':>8}")
    for who_failed in (NOBODY, ONE, ALL):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            os.environ["LAUNCHER_HOME"] = str(folder / "home")
            run = write_run(folder, nodes, who_failed)
            write_addresses(folder / "addresses.yaml", nodes)
            if who_failed == NOBODY:
                print_costs(asked_of_files(folder), folder, run, "")
            print_costs(asked_of_run(folder, run), folder, run, f", {who_failed}")


def print_costs(commands: Iterable[list[str]], folder: Path, run: str, note: str) -> None:
    for words in commands:
        seconds, megabytes = cost(words, folder)
        shown = " ".join(word.replace(f"{folder}/", "").replace(run, "RUN") for word in words) + note
        met = "met" if seconds <= TARGET_S and megabytes <= TARGET_MB else "MISSED"
        print(f"{shown:<58} {seconds:6.2f} s {megabytes:5.0f} MB  {met}", flush=True)
