"""Runs through what goes wrong in a cluster: pods that are killed, nodes that are lost, evictions, an API server that is away."""

import json
import random
from pathlib import Path

import pytest

from launcher.backends.kubernetes import backend as module
from launcher.runfolder.states import State
from launcher.runs.index import Index, RunEntry
from launcher.submission.launch import submit
from launcher.submission.prepare import prepare
from launcher.submission.resume import resume
from tests.fakes.kubernetes_cluster import FakeCluster
from tests.launcher.backends.kubernetes.flows import ended, job, until, view
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
RUNS = 6
FAULTS = ("", "kill", "lose", "evict")


def uid_of(cluster: FakeCluster, entry: RunEntry) -> str:
    """The pod of a run with one."""
    handle = Index().find(entry.run_id).handle
    assert handle
    path = cluster.path("pods") + f"?labelSelector=ascend-launcher/run={entry.run_id}"
    pods = cluster.server.call("GET", path)["items"]
    return next(
        pod["metadata"]["uid"]
        for pod in pods
        if pod["metadata"]["labels"]["ascend-launcher/attempt"] == str(handle.data["attempt"])
    )


def total(entry: RunEntry) -> float:
    return float(json.loads(entry.store.open().read("eval/last.json"))["top1"])


@pytest.mark.parametrize("batch", range(5))
def test_runs_with_faults_end_as_those_without(
    batch: int, cluster: FakeCluster, tmp_path: Path, rng: random.Random
) -> None:
    """30 runs in all, six at a time. A fault strikes after a step that the seed chooses, and a resume goes on."""
    struck: dict[str, str] = {}
    entries = []
    for number in range(RUNS):
        folder = tmp_path / str(number)
        folder.mkdir()
        fault = rng.choice(FAULTS)
        env = {"HOLD_AT": str(rng.randint(1, 6))} if fault else {}
        entry = submit(prepare(job(folder, cluster, 1, kind=rng.choice(("job", "vcjob")), env=env)), Index())
        struck[entry.run_id] = fault
        entries.append((entry, env))
    for entry, env in entries:
        if fault := struck[entry.run_id]:
            at = int(env["HOLD_AT"])
            until(entry, lambda seen: seen.progress and seen.progress.step == at)  # noqa: B023
            cluster.strike(uid_of(cluster, entry), fault)
    for entry, _ in entries:
        found = ended(entry)
        if fault := struck[entry.run_id]:
            assert found.state is State.FAILED, f"{fault}: {found.state} {found.reason}"
            resume(Index().find(entry.run_id), Index())
            found = ended(entry)
        assert found.state is State.SUCCEEDED, f"{fault}: {found.reason}"
        assert total(entry) == 21 / 1000
        assert found.attempt == (2 if fault else 1)


def test_a_lost_node_is_the_cause(cluster: FakeCluster, tmp_path: Path) -> None:
    entry = submit(prepare(job(tmp_path, cluster, 1, env={"HOLD_AT": "4"})), Index())
    until(entry, lambda seen: seen.progress and seen.progress.step == 4)
    cluster.strike(uid_of(cluster, entry), "lose")
    found = ended(entry)
    assert found.state is State.FAILED
    assert "a node was lost" in found.reason


def test_a_run_outlives_its_api_server(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GLANCE_S", 1.0)
    release, server = tmp_path / "release", cluster.server.process
    env = {"HOLD_AT": "4", "RELEASE": str(release)}
    entry = submit(prepare(job(tmp_path, cluster, 1, env=env)), Index())
    until(entry, lambda seen: seen.progress and seen.progress.step == 4)
    handle = Index().find(entry.run_id).handle
    assert handle
    server.stop()
    try:
        assert module._ask_for([handle])[0].alive is None
        assert view(entry).state is State.RUNNING
        release.touch()
        until(entry, lambda seen: seen.progress and seen.progress.step == 6)
    finally:
        server.start()
    found = ended(entry)
    assert found.state is State.SUCCEEDED, found.reason
    wait_until(lambda: module._ask_for([handle])[0].alive is False, "the cluster says so, too")
