"""Pods with NPUs, as far as the stand-ins of a driver and of MindCluster go: AscendJobs, their variables, and their rank table."""

import json
import os
from pathlib import Path

import pytest

from launcher.runfolder.states import State
from launcher.runs.index import Index
from launcher.submission.launch import submit
from launcher.submission.prepare import prepare
from tests.fakes.kubernetes_cluster import FakeCluster
from tests.launcher.backends.kubernetes.flows import ended, job, until
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FAKES = Path(__file__).parents[3] / "fakes"
RESOURCES = {"backend": "kubernetes", "device": "ascend910b", "nodes": 1, "devices_per_node": 2}


@pytest.fixture
def with_npus(cluster: FakeCluster) -> FakeCluster:
    """The cluster, whose nodes have a driver, which shows pods the cards 4 to 7."""
    cluster.node.env = {
        "PATH": f"{FAKES}{os.pathsep}{os.environ['PATH']}",
        "FAKE_ASCEND": str(FAKES / "machines" / "container-4-7"),
    }
    cluster.node.driver = [FAKES]
    return cluster


def test_an_ascendjob_meets_where_its_operator_says_and_reads_a_table_that_was_rewritten(
    with_npus: FakeCluster, tmp_path: Path
) -> None:
    env = {"HOLD_AT": "4", "RELEASE": str(tmp_path / "release"), "FAIL_AT": "5:0:exit 3"}
    retry = {"max_restarts": 1, "backoff": "0s"}
    path = job(tmp_path, with_npus, 1, kind="ascendjob", env=env, resources=RESOURCES, retry=retry)
    entry = submit(prepare(path), Index())
    until(entry, lambda seen: seen.progress and seen.progress.step == 4)
    handle = Index().find(entry.run_id).handle
    assert handle
    with_npus.operator.rewrite(handle.data["name"], "10.1.0.1", "10.1.0.77")
    mounted = next(iter(with_npus.node.mounted.values()))[f"rings-config-{handle.data['name']}"]
    wait_until(lambda: "10.1.0.77" in (mounted / "hccl.json").read_text(), "the pod sees the new table")
    (tmp_path / "release").touch()
    found = ended(entry)
    assert (found.state, found.attempt) == (State.SUCCEEDED, 2), found.reason
    log = entry.store.open().read("logs/attempt-1/node-0/node.log").decode()
    (address,) = with_npus.node.addresses.values()
    adopted = f"MS_SCHED_HOST={address} MS_SCHED_PORT=2222"
    assert f"adopted the cluster that the platform has formed: {adopted}" in log
    assert "its scheduler runs here" in log
    table = json.loads((tmp_path / "work" / entry.run_id / "rank_table.json").read_text())
    devices = table["server_list"][0]["device"]
    assert [each["device_id"] for each in devices] == ["4", "5"]
    assert devices[0]["device_ip"] == "10.1.0.77"


def test_restarts_that_are_handed_over_to_mindcluster(with_npus: FakeCluster, tmp_path: Path) -> None:
    """The node program restarts nothing; pods that are made anew go on from the newest checkpoint."""
    env = {"HOLD_AT": "4", "RELEASE": str(tmp_path / "release"), "FAIL_AT": "5:0:exit 3"}
    sections = {"resources": RESOURCES, "retry": {"max_restarts": 1, "backoff": "0s"}, "env": env}
    path = job(tmp_path, with_npus, 1, options={"fault_scheduling": "force"}, **sections)
    entry = submit(prepare(path), Index())
    until(entry, lambda seen: seen.progress and seen.progress.step == 4)
    until(entry, lambda seen: seen.safe_step)
    (tmp_path / "release").touch()
    found = ended(entry)
    assert (found.state, found.attempt) == (State.SUCCEEDED, 2), found.reason
    assert len(with_npus.node.processes) == 2, "one pod for each attempt"
    assert [each.result for each in found.attempts] == ["failed", "done"]
    assert json.loads(entry.store.open().read("eval/last.json"))["top1"] == 21 / 1000
