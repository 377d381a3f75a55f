"""Whole runs through a real API server: pods are processes of this machine, and everything else is what a cluster does."""

import json
from pathlib import Path

import pytest

from launcher.api import Run
from launcher.backends.kubernetes import backend as module
from launcher.runfolder.states import State
from launcher.runs.consoles import ConsoleReader
from launcher.runs.index import Index
from launcher.submission.cancel import cancel
from launcher.submission.launch import submit, submit_all
from launcher.submission.prepare import prepare
from launcher.submission.resume import resume
from launcher.submission.sweeps import Axis, prepare_points
from tests.fakes.kubernetes_cluster import FakeCluster
from tests.launcher.backends.kubernetes.flows import ended, job, until, view
from tests.waiting import wait_until


@pytest.mark.parametrize(("nodes", "kind"), [(1, "job"), (2, "vcjob")])
def test_a_run_from_submit_to_fetch(nodes: int, kind: str, cluster: FakeCluster, tmp_path: Path) -> None:
    entry = submit(prepare(job(tmp_path, cluster, nodes, kind=kind)), Index())
    found = ended(entry)
    assert found.state is State.SUCCEEDED, found.reason
    Run(entry, Index()).fetch(tmp_path / "results")
    assert json.loads((tmp_path / "results" / "eval" / "last.json").read_text())["top1"] == 21 / 1000
    lines = [line.text for line in ConsoleReader(Index().find(entry.run_id), nodes - 1).read()]
    assert any(f"is node {nodes - 1} of {nodes}" in line for line in lines)
    Run(entry, Index()).entry.store.open().read("logs/attempt-1/node-0/node.log")


@pytest.mark.slow
def test_a_run_that_is_cancelled_saves_and_is_resumed(cluster: FakeCluster, tmp_path: Path) -> None:
    path = job(tmp_path, cluster, 2, env={"HOLD_AT": "4"})
    entry = submit(prepare(path), Index())
    until(entry, lambda seen: seen.progress and seen.progress.step == 4)
    cancel(entry)
    assert ended(entry).state is State.CANCELLED
    wait_until(
        lambda: not module._ask_for([Index().find(entry.run_id).handle])[0].alive, "its pods have ended"
    )
    resume(Index().find(entry.run_id), Index())
    found = ended(entry)
    assert found.state is State.SUCCEEDED, found.reason
    assert found.attempt == 2
    last = json.loads(
        (Path(entry.store.open().url.removeprefix("file://")) / "eval" / "last.json").read_text()
    )
    assert last["top1"] == 21 / 1000


def test_a_pod_that_is_killed_ends_the_run_and_a_resume_goes_on(cluster: FakeCluster, tmp_path: Path) -> None:
    entry = submit(prepare(job(tmp_path, cluster, 1, env={"HOLD_AT": "4"})), Index())
    until(entry, lambda seen: seen.progress and seen.progress.step == 4)
    until(entry, lambda seen: seen.safe)
    (process,) = cluster.node.processes.values()
    process.kill()
    found = ended(entry)
    assert found.state is State.FAILED
    assert "ended with exit code 137" in found.reason
    resume(Index().find(entry.run_id), Index())
    found = ended(entry)
    assert found.state is State.SUCCEEDED, found.reason
    lines = [line.text for line in ConsoleReader(Index().find(entry.run_id), 0).read()]
    assert any("this is attempt 2" in line for line in lines)
    backend, handle = module.KubernetesBackend(), Index().find(entry.run_id).handle
    assert handle
    wait_until(lambda: not module._ask_for([handle])[0].alive, "its pod has ended")
    backend.delete(handle)
    jobs = f"/apis/batch.volcano.sh/v1alpha1/namespaces/{cluster.namespace}/jobs"
    wait_until(lambda: not cluster.server.call("GET", jobs)["items"], "the jobs of both attempts are gone")
    assert view(entry).state is State.SUCCEEDED


@pytest.mark.slow
def test_a_sweep_of_four(cluster: FakeCluster, tmp_path: Path) -> None:
    path = job(tmp_path, cluster, 1, kind="job")
    points = prepare_points(path, [Axis("env.STEPS", ("1", "2", "3", "4"))])
    entries = submit_all([(point.job, point.labels) for point in points], Index(), group="steps")
    for steps, entry in enumerate(entries, 1):
        found = ended(entry)
        assert (found.state, found.group) == (State.SUCCEEDED, "steps"), found.reason
        last = json.loads(entry.store.open().read("eval/last.json"))
        assert last["top1"] == steps * (steps + 1) / 2 / 1000


def test_a_run_that_waits_says_why_and_a_cancel_ends_it(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.hold = ("Unschedulable", "0/3 nodes are available: 3 node(s) didn't match node selector.")
    entry = submit(prepare(job(tmp_path, cluster, 1)), Index())
    until(entry, lambda seen: "no node has the labels" in seen.detail)
    assert view(entry).state in (State.PENDING, State.QUEUED)
    assert "will never start" in view(entry).detail
    cancel(entry)
    assert ended(entry).state is State.CANCELLED


def test_a_pod_that_can_not_begin_says_why(cluster: FakeCluster, tmp_path: Path) -> None:
    path = job(tmp_path, cluster, 1)
    entry = submit(prepare(path), Index())
    (Path(entry.store.open().url.removeprefix("file://")) / "code.zip").write_bytes(b"other")
    found = ended(entry)
    assert found.state is State.FAILED
    assert "code.zip in the run's folder is not what was submitted" in found.reason


def test_a_crossed_order_of_ranks_ends_the_run_before_hccl(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.operator.crossed = True
    resources = {"backend": "kubernetes", "device": "ascend910b", "nodes": 2, "devices_per_node": 2}
    entry = submit(prepare(job(tmp_path, cluster, 2, resources=resources)), Index())
    found = ended(entry)
    assert found.state is State.FAILED
    assert "the order of ranks is crossed: pod" in found.reason
    assert "HCCL would hang" in found.reason
    assert not list((tmp_path / "work").rglob("rank-*.log")), "no rank has started"
