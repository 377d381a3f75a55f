"""The life of a run from what a cluster says: reasons in words, ends with their cause, and nothing proved by a word that is not known."""

from typing import Any

import pytest

from launcher.backends.base import Handle, Life
from launcher.backends.kubernetes.life import life_of
from launcher.backends.kubernetes.look import Namespace
from launcher.backends.kubernetes.seen import SeenJob, SeenPod
from launcher.backends.kubernetes.waits import Notice, rows, why
from tests.launcher.backends.kubernetes.waits import WAITS

SERVER = "https://cluster"
LABELS = {"ascend-launcher/run": "tnt-1", "ascend-launcher/attempt": "1"}


def handle(**data: Any) -> Handle:
    known = {
        "name": "tnt-1-a1",
        "uid": "u1",
        "namespace": "vision",
        "server": SERVER,
        "nodes": 2,
        "submitted_at": 1000.0,
    }
    return Handle(backend="kubernetes", data={**known, **data})


def job(status: dict[str, Any], **metadata: Any) -> SeenJob:
    known = {
        "name": "tnt-1-a1",
        "uid": "u1",
        "labels": LABELS,
        "annotations": {"ascend-launcher/run-id": "tnt-1"},
    }
    return SeenJob.of({"metadata": {**known, **metadata}, "status": status})


def volcano(phase: str, **metadata: Any) -> SeenJob:
    return job({"state": {"phase": phase}}, **metadata)


def pod(index: int, status: dict[str, Any], node: str = "") -> SeenPod:
    labels = {**LABELS, "volcano.sh/task-index": str(index)}
    metadata = {"name": f"tnt-1-a1-worker-{index}", "uid": f"p{index}", "labels": labels}
    return SeenPod.of({"metadata": metadata, "spec": {"nodeName": node}, "status": status})


def ended(index: int, code: int, message: str = "", reason: str = "Error") -> SeenPod:
    state = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    return pod(
        index, {"phase": "Failed" if code else "Succeeded", "containerStatuses": [{"state": state}]}, "n1"
    )


def life(
    seen_job: SeenJob | None,
    *pods: SeenPod,
    notices: dict[str, tuple[Notice, ...]] | None = None,
    **data: Any,
) -> Life:
    jobs = {seen_job.name: seen_job} if seen_job else {}
    return life_of(handle(**data), Namespace(jobs, pods, notices or {}), SERVER)


@pytest.mark.parametrize(("notice", "words", "never"), WAITS)
def test_why_a_job_waits_in_words(notice: Notice, words: str, never: bool) -> None:
    found = life(volcano("Pending"), notices={"tnt-1-a1-u1": (notice,)})
    assert found.alive
    assert found.waiting
    assert words in found.detail
    assert (notice.message or notice.word) in found.detail
    assert ("will never start" in found.detail) is never


def test_every_row_of_the_table_can_be_met() -> None:
    met = {why([notice]).row for notice, _, _ in WAITS}  # type: ignore[union-attr]
    for row in [row for row in rows() if row not in met]:
        assert not row.match, row.means
        assert why([Notice(row.word[-1], "")]).row == row  # type: ignore[union-attr]


def test_a_word_that_no_row_knows_is_quoted_after_all_others() -> None:
    odd, vague = (
        Notice("Frobnicated", "the node has no moon"),
        Notice("Unschedulable", "pod group is not ready"),
    )
    assert why([Notice("ContainerCreating")]) is None
    assert why([odd]).words() == (  # type: ignore[union-attr]
        "the cluster says Frobnicated ('the node has no moon'): `kubectl describe pod` tells more"
    )
    assert why([odd, vague]).notice is vague  # type: ignore[union-attr]


def test_what_is_said_of_the_gang_gives_way_to_a_cause() -> None:
    gang = Notice("FailedScheduling", "2/2 tasks in gang unschedulable: pod group is not ready", "p0")
    quota = Notice("Unschedulable", "queue resource quota insufficient")
    found = life(volcano("Pending"), notices={"u1": (gang,), "tnt-1-a1-u1": (quota,)})
    assert "the share of the queue is used up" in found.detail


def test_a_pod_that_has_a_node_waits_for_no_other() -> None:
    """The events and the group's condition of the time before stay for an hour."""
    old = Notice("FailedScheduling", "0/1 nodes are available: 1 Insufficient huawei.com/Ascend910.")
    group = {"tnt-1-a1-u1": (old,), "p0": (old,)}
    creating = {"state": {"waiting": {"reason": "ContainerCreating"}}}
    pods = [pod(n, {"phase": "Pending", "containerStatuses": [creating]}, "n1") for n in (0, 1)]
    found = life(volcano("Pending"), *pods, notices=group)
    assert found.detail == "job tnt-1-a1 is being prepared on n1"
    waiting = pod(1, {"phase": "Pending"})
    assert "not enough NPUs" in life(volcano("Pending"), pods[0], waiting, notices=group).detail


def test_a_pods_own_word_counts_before_that_of_the_group() -> None:
    waiting = {
        "phase": "Pending",
        "containerStatuses": [{"state": {"waiting": {"reason": "InvalidImageName"}}}],
    }
    group = {"tnt-1-a1-u1": (Notice("NotEnoughTasks"),)}
    found = life(volcano("Running"), pod(0, {"phase": "Running"}, "n1"), pod(1, waiting, "n2"), notices=group)
    assert not found.waiting
    assert found.phase == "starting"
    assert "1 of 2 pods have begun" in found.detail
    assert "tnt-1-a1-worker-1: the image can't be used" in found.detail


def test_a_run_on_its_nodes() -> None:
    found = life(volcano("Running"), pod(0, {"phase": "Running"}, "n1"), pod(1, {"phase": "Running"}, "n2"))
    assert found == Life(alive=True, phase="starting", detail="job tnt-1-a1 on n1, n2")


def test_an_error_of_the_boot_program_is_the_cause() -> None:
    found = life(
        volcano("Failed"),
        ended(0, 78, "x\nerror: pydantic not installed in python of this image\n"),
        ended(1, 0),
    )
    assert found.alive is False
    assert (
        found.cause
        == "tnt-1-a1-worker-0 ended with exit code 78: pydantic not installed in python of this image"
    )


def test_a_node_programs_own_end_is_no_cause() -> None:
    assert life(volcano("Failed"), ended(0, 100), ended(1, 0)).cause == ""


@pytest.mark.parametrize(
    ("pod_status", "rule"),
    [
        (
            {"containerStatuses": [{"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]},
            "host-memory",
        ),
        ({"reason": "Evicted", "message": "The node was low on resource: memory."}, "platform-end"),
        ({"reason": "NodeLost", "message": "Node n1 is unresponsive"}, "node-lost"),
        ({"reason": "UnexpectedAdmissionError", "message": "Allocate failed"}, "node-lost"),
    ],
)
def test_an_end_by_the_cluster_has_its_rule(pod_status: dict[str, Any], rule: str) -> None:
    found = life(volcano("Failed"), pod(0, {"phase": "Failed", **pod_status}, "n1"))
    assert found.alive is False
    assert found.rule == rule


@pytest.mark.parametrize("phase", ["Aborted", "Terminated"])
def test_a_job_that_somebody_ended_was_cancelled(phase: str) -> None:
    assert life(volcano(phase), ended(0, 0)).cancelled


@pytest.mark.parametrize(
    ("conditions", "alive"),
    [
        ([], True),
        ([("Created", "True")], True),
        ([("Created", "True"), ("Running", "True")], True),
        ([("Running", "False"), ("Succeeded", "True")], False),
        ([("Failed", "True")], False),
        ([("Complete", "True")], False),
        ([("Pondering", "True")], None),
    ],
)
def test_conditions_of_ascendjobs_and_plain_jobs(
    conditions: list[tuple[str, str]], alive: bool | None
) -> None:
    status = [
        {"type": word, "status": holds, "lastTransitionTime": f"2026-01-01T00:00:0{k}Z"}
        for k, (word, holds) in enumerate(conditions)
    ]
    assert life(job({"conditions": status})).alive is alive


def test_a_word_that_is_not_known_is_no_end() -> None:
    found = life(volcano("Pondering"))
    assert found.alive is None
    assert "Pondering" in found.detail


def test_a_deleted_job_is_gone_in_its_own_cluster_only() -> None:
    found = life(None)
    assert found.alive is False
    assert "was deleted" in found.detail
    assert life(None, server="https://other").alive is None
    assert life(volcano("Running", uid="u2")).alive is False


def test_the_pods_of_a_deleted_job_may_still_save() -> None:
    assert life(None, pod(0, {"phase": "Running"}, "n1")).alive
    assert life(None, ended(0, 75)).alive is False
