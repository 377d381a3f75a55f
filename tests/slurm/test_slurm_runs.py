"""Runs on the cluster as a user sees them: submitted, followed, cancelled, refused."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import PlanError
from launcher.runs.index import RunEntry
from launcher.submission.cancel import cancel
from launcher.submission.launch import launch_all
from launcher.submission.newrun import NewRun
from launcher.submission.prepare import prepare
from launcher.submission.resume import resume
from tests.servers.faults import Answer, delay, fault_proxy
from tests.servers.s3 import S3Server, rclone_server
from tests.servers.stores import BUCKET
from tests.slurm.cluster import Cluster
from tests.slurm.jobs import PATIENCE_S, SlurmJobs

ROOT = Path(__file__).parents[2]
FAKES = ROOT / "tests" / "fakes"
LONG = {"STEPS": "1000", "HOLD_AT": "10"}
"""Ends only when something ends it."""


def launcher(*words: str) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "launcher", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_run_on_two_nodes_that_share_nothing_and_what_the_commands_say(
    jobs: SlurmJobs, tmp_path: Path
) -> None:
    entry = jobs.submit("plain", env={"STEPS": "30", "STEP_S": "0.1"})
    followed = launcher("logs", entry.run_id, "-f")
    view = jobs.end(entry)
    assert (view.state, view.reason, view.attempt) == ("SUCCEEDED", "", 1)
    hosts = [node.host for node in view.nodes]
    assert len(set(hosts)) == 2
    assert "rank 0 of 2 starts after step 0" in followed
    assert "rank 1 of 2 starts after step 0" in followed
    shown = json.loads(launcher("status", entry.run_id, "--json"))
    assert (shown["state"], shown["backend"]) == ("SUCCEEDED", "slurm")
    assert "nothing failed" in launcher("explain", entry.run_id)
    launcher("fetch-results", entry.run_id, "--to", str(tmp_path / "results"))
    assert (tmp_path / "results" / "eval" / "last.json").exists()
    assert {"logs/attempt-1/node-0/rank-0.log", "logs/attempt-1/node-1/rank-1.log"} <= jobs.names(entry)
    work = [jobs.cluster.local_disk(host) / "work" / entry.run_id for host in hosts]
    assert all(list(folder.glob(".code-*/launcher/node/program.py")) for folder in work), (
        "the code of the submission runs"
    )
    assert not jobs.cluster.disk.joinpath("work").exists(), "the nodes' disks are their own"
    jobs.nothing_is_left(entry)


def test_data_and_results_on_a_folder_that_all_nodes_share(jobs: SlurmJobs, tmp_path: Path) -> None:
    for k in range(20):
        path = tmp_path / "images" / "train" / f"{k % 4}" / f"{k}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(100))
    entry = jobs.submit(
        "shared",
        data={"url": str(tmp_path / "images"), "cache_dir": str(jobs.cluster.disk / "cache-shared")},
        output={"url": str(tmp_path / "runs")},
        env={"STEPS": "6"},
    )
    view = jobs.end(entry)
    assert (view.state, view.reason, len(view.nodes)) == ("SUCCEEDED", "", 2)
    for node in view.nodes:
        staged = jobs.cluster.local_disk(node.host) / "cache-shared"
        assert len(list(staged.rglob("*.jpg"))) == 20, "each node has a copy of its own"
    results = tmp_path / "runs" / entry.run_id
    assert {"checkpoints", "eval", "logs"} <= {path.name for path in results.iterdir()}
    assert all((results / name).is_file() for name in jobs.names(entry))
    jobs.nothing_is_left(entry)


def test_a_failure_is_the_programs_and_is_explained(jobs: SlurmJobs) -> None:
    entry = jobs.submit("fails", env={"STEPS": "20", "STEP_S": "0.1", "FAIL_AT": "4:1:raise"})
    view = jobs.end(entry)
    assert view.state == "FAILED"
    assert "rank 1 on node" in view.reason
    assert "ValueError: no good at step 4" in launcher("explain", entry.run_id)
    assert jobs.cluster.job(jobs.number(entry))["ExitCode"] == "100:0"
    jobs.nothing_is_left(entry)


def test_a_run_that_was_stopped_is_resumed_on_any_nodes(jobs: SlurmJobs) -> None:
    entry = jobs.submit("resumed", env={"STEPS": "40", "HOLD_AT": "10"}, nodes=1)
    jobs.safe(entry, 4)
    jobs.cluster.call("scancel", jobs.number(entry))
    view = jobs.end(entry)
    assert view.state == "CANCELLED"
    again = resume(jobs.index.find(entry.run_id), jobs.index)
    jobs.entries.append(again)
    view = jobs.end(again)
    assert (view.state, view.attempt) == ("SUCCEEDED", 2)
    assert view.results == {"last": pytest.approx(0.82)}
    assert (view.attempts[-1].resumed_step or 0) >= 4


# ---- cancel, in each phase


def waiting(jobs: SlurmJobs) -> RunEntry:
    entry = jobs.submit("cancel-waiting", slurm={"extra": ["--hold"]})
    seen = jobs.until(entry, lambda view: view.detail, "it is held")
    assert "is held" in seen.detail
    cancel(entry)
    return entry


def training(jobs: SlurmJobs) -> RunEntry:
    entry = jobs.submit("cancel-training", env=LONG)
    jobs.safe(entry, 4)
    cancel(entry)
    return entry


def staging(jobs: SlurmJobs) -> RunEntry:
    folder = jobs.folder / "images"
    for k in range(60):
        path = folder / "train" / f"{k % 10}" / f"{k}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(100))
    cancelled = threading.Event()

    def held(_answer: Answer) -> None:
        cancelled.wait(1000.0)

    host = jobs.cluster.address
    with rclone_server(jobs.folder, host=host) as server, fault_proxy(server.endpoint, host) as faults:
        faults.add(held, path="/train/")
        data = {"url": "s3://images", "endpoint": faults.endpoint, "workers": 1}
        entry = jobs.submit("cancel-staging", data=data, env=LONG)
        jobs.until(entry, lambda view: view.phase == "staging", "it stages")
        cancel(entry)
        cancelled.set()
        jobs.end(entry)
    return entry


def uploading(jobs: SlurmJobs) -> RunEntry:
    """The store takes its time over the last object."""
    with fault_proxy(jobs.endpoint, jobs.cluster.address) as faults:
        faults.add(delay(600.0), method="PUT", path="MANIFEST.json")
        entry = jobs.submit("cancel-uploading", nodes=1, output={"endpoint": faults.endpoint})
        Cluster.until(lambda: faults.count("PUT", "MANIFEST.json"), "it uploads")
        cancel(entry)
        jobs.end(entry)
    return entry


def test_cancel_in_each_phase_leaves_nothing_on_any_node(jobs: SlurmJobs) -> None:
    phases: list[Callable[[SlurmJobs], RunEntry]] = [waiting, staging, training, uploading]
    with ThreadPoolExecutor(len(phases)) as pool:
        ended = list(pool.map(lambda phase: phase(jobs), phases))
    views = [jobs.end(entry) for entry in ended]
    assert [view.state for view in views] == ["CANCELLED"] * 4, "\n".join(view.reason for view in views)
    assert (views[2].safe_step or 0) >= 4
    for entry in ended:
        jobs.nothing_is_left(entry)


# ---- what can't be


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nodes": ({"nodes": 99}, r"99 nodes, partition main has 20: it would wait for ever \(SL005\)"),
    "partition": ({"slurm": {"partition": "nowhere"}}, r"no partition 'nowhere' \(SL003\)"),
    "npus": (
        {"resources": {"device": "ascend910", "devices_per_node": 8}, "slurm": {"gres": "npu:310"}},
        "SL008",
    ),
    "memory": ({"slurm": {"memory": "1TB"}}, r"1.0 TB per node .* \(SL009\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_never_start_is_refused_before_it_is_submitted(name: str, jobs: SlurmJobs) -> None:
    arguments, words = REFUSED[name]
    before = jobs.cluster.call("squeue", "-h", "-t", "all", "-o", "%i")
    with pytest.raises(PlanError, match=words):
        jobs.submit(f"refused-{name}", **arguments)
    assert jobs.cluster.call("squeue", "-h", "-t", "all", "-o", "%i") == before


def test_a_job_that_will_never_start_says_so(jobs: SlurmJobs) -> None:
    """As of a partition that has shrunk since: nobody asked the cluster before the submit."""
    job = prepare(jobs.file("never", nodes=99))
    entry = launch_all([NewRun(job.plan, job.job.source_text, {})], jobs.index)[0]
    jobs.entries.append(entry)
    view = jobs.until(entry, lambda view: "will never start" in view.detail, "it says why")
    assert view.state == "PENDING"
    assert "asks for 99 of 20 nodes of partition main" in view.detail
    cancel(entry)
    assert jobs.end(entry).state == "CANCELLED"


def without(jobs: SlurmJobs, node: str, package: str) -> contextlib.AbstractContextManager[None]:
    """A node whose Python lacks a package."""

    @contextlib.contextmanager
    def hidden() -> Iterator[None]:
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.origin is not None
        place = str(Path(spec.origin).parent)
        jobs.cluster.inside(node, "mount", "-t", "tmpfs", "none", place)
        try:
            yield
        finally:
            jobs.cluster.inside(node, "umount", place)

    return hidden()


@pytest.mark.parametrize("package", [pytest.param("mindspore", marks=pytest.mark.slow), "pydantic"])
def test_a_package_that_one_node_lacks_is_named_before_anything_starts(
    package: str, jobs: SlurmJobs, s3: S3Server
) -> None:
    s3.client().put_object(Bucket=BUCKET, Key="tiny/train/0/1.jpg", Body=b"not looked at")
    with without(jobs, "node16", package):
        entry = jobs.submit(
            f"lacks-{package}",
            model={"config": str(ROOT / "vitmodels" / "configs" / "tnt_digits.yaml")},
            data={"url": f"s3://{BUCKET}/tiny"},
            slurm={"nodelist": "node[15-16]"},
        )
        view = jobs.end(entry)
    assert view.state == "FAILED"
    assert f"node16: {package}" in view.reason
    assert "not installed" in view.reason
    jobs.nothing_is_left(entry)


def test_a_program_that_was_changed_after_the_submit_runs_as_it_was_submitted(
    jobs: SlurmJobs, tmp_path: Path
) -> None:
    program = tmp_path / "mine.py"
    program.write_text("print('first')")
    entry = jobs.submit(
        "changed", nodes=1, program=[sys.executable, str(program)], slurm={"extra": ["--hold"]}
    )
    program.write_text("print('second')")
    jobs.cluster.call("scontrol", "release", jobs.number(entry))
    view = jobs.end(entry)
    assert view.state == "SUCCEEDED", view.reason
    assert jobs.store(entry).read("logs/attempt-1/node-0/rank-0.log") == b"first\n"


@pytest.mark.slow
def test_a_changed_program_runs_as_it_was_submitted_in_each_later_attempt(
    jobs: SlurmJobs, tmp_path: Path
) -> None:
    """A restart in the same job, a job that Slurm starts again, and a resume."""
    program, signals = tmp_path / "mine.py", jobs.folder / "changed-later"
    signals.mkdir()
    program.write_text(
        "import pathlib, sys, time\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "earlier = len(list(folder.glob('begun-*')))\n"
        "print('first', earlier, flush=True)\n"
        "(folder / f'begun-{earlier}').touch()\n"
        "while earlier < 3 and not (folder / 'fail').exists(): time.sleep(0.05)\n"
        "(folder / 'fail').unlink(missing_ok=True)\n"
        "sys.exit(earlier < 3)\n"
    )
    entry = jobs.submit(
        "changed-later",
        nodes=1,
        program=[sys.executable, str(program), str(signals)],
        retry={"max_restarts": 1, "backoff": "1s"},
    )

    def begun(number: int) -> None:
        Cluster.until((signals / f"begun-{number}").exists, f"start {number} of the program")

    begun(0)
    program.write_text("print('second')")
    (signals / "fail").touch()
    begun(1)
    jobs.cluster.call("scontrol", "requeue", jobs.number(entry))
    begun(2)
    jobs.cluster.call("scancel", jobs.number(entry))
    assert jobs.end(entry).state == "CANCELLED"
    again = resume(jobs.index.find(entry.run_id), jobs.index)
    jobs.entries.append(again)
    view = jobs.end(again)
    assert view.state == "SUCCEEDED", view.reason
    logs = [
        jobs.store(entry).read(f"logs/attempt-{each.attempt}/node-0/rank-0.log") for each in view.attempts
    ]
    assert logs == [f"first {number}\n".encode() for number in range(4)]


# ---- several runs


# ---- devices and the controller
