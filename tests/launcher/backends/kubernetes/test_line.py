"""Runs that wait for others: a starter makes their jobs with an account of its own, and whoever submitted has nothing to do with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.backends.kubernetes import line
from launcher.runfolder.states import State
from launcher.runs.index import Index, RunEntry
from launcher.submission.cancel import cancel
from launcher.submission.launch import submit, submit_all
from launcher.submission.prepare import prepare
from launcher.submission.sweeps import Axis, prepare_points
from tests.fakes.kubernetes_cluster import FakeCluster
from tests.launcher.backends.kubernetes.flows import ROOT, ended, job, until

ACCOUNT = "ascend-launcher-starter"
PATHS = {
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
}


@pytest.fixture
def account(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> str:
    """The account as the documentation's file makes it, and starters that look often."""
    monkeypatch.setattr(line, "PAUSE_S", 0.2)
    for each in yaml.safe_load_all((ROOT / "docs" / "kubernetes-starter.yaml").read_text()):
        cluster.server.call("POST", PATHS[each["kind"]].format(cluster.namespace), each)
    return ACCOUNT


def jobs_of(cluster: FakeCluster) -> list[dict[str, Any]]:
    """Jobs of runs, without starters."""
    found = []
    for api in ("batch.volcano.sh/v1alpha1", "batch/v1"):
        path = f"/apis/{api}/namespaces/{cluster.namespace}/jobs?labelSelector=ascend-launcher/run"
        found += cluster.server.call("GET", path)["items"]
    return found


def sweep(folder: Path, cluster: FakeCluster, held: Sequence[str], most: int) -> list[RunEntry]:
    """Runs that hold after their first step until the file of their number is there."""
    section = {"starter_account": ACCOUNT, "max_parallel": most}
    path = job(folder, cluster, 1, options=section, env={"HOLD_AT": "1"})
    points = prepare_points(path, [Axis("env.RELEASE", tuple(str(folder / each) for each in held))])
    return submit_all([(point.job, point.labels) for point in points], Index(), group="held")


def first_step(entry: RunEntry) -> None:
    until(entry, lambda seen: seen.progress and seen.progress.step == 1)


def test_a_sweep_runs_so_many_at_a_time(cluster: FakeCluster, account: str, tmp_path: Path) -> None:
    """Its starter is killed meanwhile, and goes on."""
    first, second, third = sweep(tmp_path, cluster, "abc", 1)
    first_step(first)
    found = until(second, lambda seen: first.run_id in seen.detail)
    assert found.state in (State.PENDING, State.QUEUED)
    assert "waits for another run of its sweep to end (kubernetes.max_parallel)" in found.detail
    assert len(jobs_of(cluster)) == 1
    cancel(second)
    assert ended(second).state is State.CANCELLED
    pods = cluster.server.call("GET", cluster.path("pods") + "?labelSelector=ascend-launcher/starter")
    cluster.node.processes[pods["items"][0]["metadata"]["uid"]].kill()
    (tmp_path / "a").touch()
    assert ended(first).state is State.SUCCEEDED
    first_step(third)
    assert len(jobs_of(cluster)) == 2, "the cancelled run never had a job"


def test_a_run_whose_predecessor_fails_is_never_started(
    cluster: FakeCluster, account: str, tmp_path: Path
) -> None:
    env = {"HOLD_AT": "1", "RELEASE": str(tmp_path / "go"), "FAIL_AT": "2:0:exit 1", "FAIL_ALWAYS": "1"}
    first = submit(prepare(job(tmp_path, cluster, 1, env=env, retry={"max_restarts": 0})), Index())
    options = {"starter_account": account, "after": [first.run_id], "kind": "job"}
    second = submit(prepare(job(tmp_path, cluster, 1, options=options)), Index())
    until(second, lambda seen: f"waits for {first.run_id} to succeed" in seen.detail)
    (tmp_path / "go").touch()
    assert ended(first).state is State.FAILED
    found = ended(second)
    assert found.state is State.FAILED
    assert f"was never started: it was to follow {first.run_id}, which has ended Failed" in found.reason
    assert len(jobs_of(cluster)) == 1
