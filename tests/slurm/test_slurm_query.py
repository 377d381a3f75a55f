"""What Slurm prints, as it was seen, and what is made of it."""

import os
from pathlib import Path

import pytest

from launcher.backends.base import Handle
from launcher.backends.slurm.backend import life_of
from launcher.backends.slurm.check import parse_gres
from launcher.backends.slurm.node import devices_of, forget_old_requests
from launcher.backends.slurm.query import Job, parse_accounted, parse_job, waiting_words
from launcher.runfolder.paths import RunDir

HANDLE = Handle(backend="slurm", data={"job": "17", "comment": "launcher:run-1"})


def job(state: str, reason: str = "None", comment: str = "launcher:run-1", *, count: int = 2) -> Job:
    return Job("17", state, reason, "node[1-2]", count, "main", comment)


@pytest.mark.parametrize(
    ("line", "state", "comment"),
    [
        ("17|RUNNING|None|node[1-2]|2|main|run-1|launcher:run-1", "RUNNING", "launcher:run-1"),
        ("2_3|PENDING|JobArrayTaskLimit||1|main|run-1|(null)", "PENDING", "launcher:run-1"),
        ("17|PENDING|ReqNodeNotAvail, UnavailableNodes:node2||2|main|wrap|a|b", "PENDING", "a|b"),
    ],
)
def test_lines_of_squeue(line: str, state: str, comment: str) -> None:
    found = parse_job(line)
    assert found is not None
    assert (found.state, found.comment) == (state, comment)


def test_other_lines_are_no_jobs() -> None:
    assert parse_job("slurm_load_jobs error: Invalid job id specified") is None
    assert parse_accounted("Slurm accounting storage is disabled") is None


def test_lines_of_sacct() -> None:
    found = parse_accounted("17|CANCELLED by 0|node1|run-1")
    assert found is not None
    assert (found.state, found.ended, found.comment) == ("CANCELLED", True, "launcher:run-1")
    assert life_of(HANDLE, found, {}).cancelled


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Resources", "waits for free nodes"),
        ("PartitionConfig", "will never start: asks for 9 of 3 nodes of partition main"),
        ("DependencyNeverSatisfied", "will never start: the run that it was to follow did not succeed"),
        ("ReqNodeNotAvail, UnavailableNodes:node2", "waits for a node that is not available: node2"),
        ("job requeued in held state", "was queued again and is held; `scontrol release` lets it go"),
        ("None", "waits to be looked at by the scheduler"),
        ("SomethingNew", "SomethingNew"),
    ],
)
def test_why_a_job_waits_in_words(reason: str, words: str) -> None:
    assert waiting_words(job("PENDING", reason, count=9), {"main": 3}) == words


@pytest.mark.parametrize(
    ("found", "alive", "waiting", "cancelled"),
    [
        (job("PENDING", "Priority"), True, True, False),
        (job("RUNNING"), True, False, False),
        (job("COMPLETING"), True, False, False),
        (job("FAILED", "NonZeroExitCode"), False, False, False),
        (job("NODE_FAIL", "NodeDown"), False, False, False),
        (job("CANCELLED"), False, False, True),
        (job("CANCELLED", "DependencyNeverSatisfied"), False, False, False),
        (job("A_NEW_WORD"), None, False, False),
        (None, False, False, False),
    ],
)
def test_states(found: Job | None, alive: bool | None, waiting: bool, cancelled: bool) -> None:
    life = life_of(HANDLE, found, {})
    assert (life.alive, life.waiting, life.cancelled) == (alive, waiting, cancelled)
    assert "17" in life.detail


def test_what_a_node_wrote_to_the_comment_is_the_cause() -> None:
    life = life_of(
        HANDLE, job("FAILED", comment="launcher:run-1 node2: yaml not installed in /opt/python"), {}
    )
    assert life.cause == "node2: yaml not installed in /opt/python"


@pytest.mark.parametrize(
    ("line", "ours"),
    [
        ("17|RUNNING|None|node1|1|main|run-1|launcher:run-1 node1: no room", True),
        ("17|RUNNING|None|node1|1|main|run-1|(null)", True),
        ("17|RUNNING|None|node1|1|main|wrap|(null)", False),
        ("17|RUNNING|None|node1|1|main|run-1|launcher:somebody-else", False),
        ("17|RUNNING|None|node1|1|main|run-12|launcher:run-12", False),
    ],
)
def test_an_id_that_was_given_to_somebody_else_is_not_our_job(line: str, ours: bool) -> None:
    found = parse_job(line)
    assert found is not None
    assert found.is_of("launcher:run-1") is ours


def test_a_job_of_another_cluster_has_not_ended() -> None:
    handle = HANDLE.model_copy(update={"data": {**HANDLE.data, "cluster": "far"}})
    assert life_of(handle, None, {}, "near").alive is None
    assert life_of(handle, None, {}, "far").forgotten
    assert life_of(handle, None, {}, "").alive is False


def test_why_a_job_ended_in_words() -> None:
    assert (
        "the folder of slurm.log must exist" in life_of(HANDLE, job("FAILED", "JobLaunchFailure"), {}).detail
    )


SEEN = (
    "JobId=17 JobName=x Nodes=node[1-2] CPU_IDs=62-63 Mem=0 GRES=npu:910b:4(IDX:0-3) "
    "Nodes=node3 CPU_IDs=0 Mem=0 GRES=npu:910b:3(IDX:0,5-6) MinCPUsNode=1"
)
HOSTS = {"node[1-2]": ["node1", "node2"], "node3": ["node3"]}


@pytest.mark.parametrize(("host", "ids"), [("node2", (0, 1, 2, 3)), ("node3", (0, 5, 6)), ("node4", ())])
def test_devices_of_a_node(host: str, ids: tuple[int, ...]) -> None:
    assert devices_of(SEEN, host, HOSTS) == ids


def test_devices_of_another_kind_are_not_ours() -> None:
    seen = "Nodes=node1 CPU_IDs=0 Mem=0 GRES=gpu:1(IDX:0),npu:910b:2(IDX:4-5),npux:1(IDX:7)"
    assert devices_of(seen, "node1", {}) == (4, 5)
    assert devices_of(seen, "node1", {}, "gpu") == (0,)


def test_devices_that_are_only_counted() -> None:
    assert devices_of("Nodes=node1 CPU_IDs=0 Mem=0 GRES=npu:910b(CNT:8)", "node1", {}) == ()


def test_what_an_earlier_start_was_asked_to_do_is_forgotten(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    run_dir.stop.write_text("the time limit")
    run_dir.cancel.write_text("{}")
    os.utime(run_dir.stop, (1000.0, 1000.0))
    forget_old_requests(run_dir, 2000.0)
    assert (run_dir.stop.exists(), run_dir.cancel.exists()) == (False, True)


def test_generic_resources() -> None:
    assert parse_gres("npu:910b:8(S:0-1),gpu:2") == {"npu": 8, "npu:910b": 8, "gpu": 2}
    assert parse_gres("(null)") == {}
