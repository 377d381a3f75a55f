"""Why a run does not begin, from a real API server: the reason in words, on the next look."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from launcher.backends import get_backend
from launcher.backends.kubernetes import backend as module
from launcher.backends.kubernetes.names import job_name
from tests.launcher.backends.kubernetes.test_submit import plan_of
from tests.servers.kube import KubeServer

GROUPS = "/apis/scheduling.volcano.sh/v1beta1/namespaces/vision/podgroups"
EVENTS = "/api/v1/namespaces/vision/events"


def test_the_group_of_pods_says_why_within_10_s(
    here: KubeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("launcher.backends.recent.time", SimpleNamespace(monotonic=lambda: now))
    plan, backend = plan_of(tmp_path), get_backend("kubernetes")
    handle = backend.submit(plan, 1)
    assert backend.poll([handle])[0].waiting
    condition = {"type": "Unschedulable", "status": "True", "reason": "NotEnoughResources"}
    condition |= {"message": "0/3 nodes are available: 3 Insufficient huawei.com/Ascend910."}
    body = {"apiVersion": "scheduling.volcano.sh/v1beta1", "kind": "PodGroup", "spec": {}}
    name = f"{handle.data['name']}-{handle.data['uid']}"
    here.call("POST", GROUPS, {**body, "metadata": {"name": name}, "status": {"conditions": [condition]}})
    assert "not enough NPUs" not in backend.poll([handle])[0].detail, "the last answer serves for a moment"
    now = 9.0
    assert "not enough NPUs are free" in backend.poll([handle])[0].detail


def test_an_event_of_the_job_says_why(here: KubeServer, tmp_path: Path) -> None:
    plan, backend = plan_of(tmp_path), get_backend("kubernetes")
    handle = backend.submit(plan, 1)
    target = {
        "kind": "Job",
        "namespace": "vision",
        "name": job_name(plan.run_id, 1),
        "uid": handle.data["uid"],
    }
    event = {
        "metadata": {"generateName": "e-"},
        "involvedObject": target,
        "type": "Warning",
        "reason": "FailedCreate",
    }
    message = 'pods "x" is forbidden: exceeded quota: npus, requested: huawei.com/Ascend910=8'
    here.call("POST", EVENTS, {**event, "message": message})
    assert "the quota of the namespace" in backend.poll([handle])[0].detail
    assert any("exceeded quota" in line for line in backend.story(handle))  # type: ignore[attr-defined]


def test_an_event_of_the_group_of_pods_that_is_no_warning_says_why(here: KubeServer, tmp_path: Path) -> None:
    """Volcano's own: what every gang is told comes as a warning, the cause does not."""
    plan, backend = plan_of(tmp_path), get_backend("kubernetes")
    handle = backend.submit(plan, 1)
    name = f"{handle.data['name']}-{handle.data['uid']}"
    target = {"kind": "PodGroup", "namespace": "vision", "name": name, "uid": "of-the-group"}
    for kind, message in (
        ("Normal", "queue resource quota insufficient"),
        ("Warning", "0/0 tasks in gang unschedulable: pod group is not ready, 2 minAvailable"),
    ):
        event = {"metadata": {"generateName": "e-"}, "involvedObject": target, "reason": "Unschedulable"}
        here.call("POST", EVENTS, {**event, "type": kind, "message": message})
    assert "the share of the queue is used up" in backend.poll([handle])[0].detail


def test_one_question_for_all_runs_of_a_namespace(here: KubeServer, tmp_path: Path, monkeypatch) -> None:
    backend = get_backend("kubernetes")
    handles = []
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        handles.append(backend.submit(plan_of(tmp_path / name), 1))
    asked, once = [], module.Cluster._once

    def counted(self, method, path, body, query):
        asked.append(path)
        return once(self, method, path, body, query)

    monkeypatch.setattr(module.Cluster, "_once", counted)
    monkeypatch.setattr(module, "PAUSE_S", 10_000.0)
    assert all(life.waiting for life in backend.poll(handles))
    assert len(asked) == 4  # jobs, pods, and as they wait, events and groups of pods
    backend.poll(handles)
    assert len(asked) == 4


def test_a_waiting_job_is_deleted_by_a_cancel(here: KubeServer, tmp_path: Path) -> None:
    plan, backend = plan_of(tmp_path), get_backend("kubernetes")
    handle = backend.submit(plan, 1)
    backend.cancel(handle)
    from tests.waiting import wait_until

    def gone() -> bool:
        module._recent.clear()
        return "is being deleted" not in backend.poll([handle])[0].detail

    wait_until(gone, "the job is gone")
    assert backend.find(plan, trusted=True) is None  # type: ignore[attr-defined]
