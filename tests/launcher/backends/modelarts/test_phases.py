"""Phases, events, stages and logs of jobs, and what they mean for a run."""

import time
from pathlib import Path

import pytest

from launcher.backends.modelarts.causes import cause_in, event_rules
from launcher.backends.modelarts.jobs import SeenJob
from launcher.backends.modelarts.poll import Doubts, judge
from tests.launcher.backends.modelarts.jobs import PULL, handle_of

LIVES = [
    ("Creating", True, "is being created"),
    ("Pending", True, "waits for machines"),
    ("Running", True, "has its machines"),
    ("Terminating", True, "is being stopped"),
    ("Completed", False, "ended well"),
    ("Failed", False, "worker-1 ended with 137 (killed, most likely out of memory)"),
    ("Terminated", False, "was stopped"),
    ("Hibernating", True, "the platform says 'Hibernating'"),
    ("", True, "the platform says 'nothing'"),
    ("Abnormal", None, "which may pass"),
]


@pytest.mark.parametrize(("phase", "alive", "words"), LIVES)
def test_phases(tmp_path: Path, phase: str, alive: bool | None, words: str) -> None:
    job = SeenJob.of(
        {
            "metadata": {"id": "1", "name": "j"},
            "status": {"phase": phase, "task_statuses": [{"task": "worker-1", "exit_code": 137}]},
        }
    )
    life = judge(handle_of(job), job, Doubts(tmp_path / "doubts.json"))
    assert life.alive is alive
    assert words in life.detail


def test_abnormal_is_final_only_after_several_looks_over_some_time(tmp_path: Path) -> None:
    clock = [0.0]
    doubts = Doubts(tmp_path / "doubts.json", now=lambda: clock[0])
    bad = SeenJob(id="1", name="j", phase="Abnormal")
    good = SeenJob(id="1", name="j", phase="Running")

    def look(job: SeenJob, at: float) -> bool | None:
        clock[0] = at
        return judge(handle_of(job), job, doubts).alive

    assert [look(bad, at) for at in (0, 10, 20, 30)] == [None] * 4
    assert look(bad, 130) is False
    assert look(good, 140) is True
    assert [look(bad, at) for at in (150, 400)] == [None] * 2
    assert look(bad, 410) is False


def test_a_job_that_is_not_there(tmp_path: Path) -> None:
    doubts = Doubts(tmp_path / "doubts.json")
    job = SeenJob(id="1", name="j")
    assert judge(handle_of(job), None, doubts).alive is False
    assert judge(handle_of(job, submitted_at=time.time()), None, doubts).alive is None
    unclear = {"id": "", "submitted_at": time.time() - 60}
    assert "not known yet" in judge(handle_of(job, **unclear), None, doubts).detail
    assert judge(handle_of(job, **{**unclear, "submitted_at": 0}), None, doubts).alive is False


def test_the_story_of_a_job_is_sentences() -> None:
    record = {
        "end_reason": "node fault",
        "end_related_task": "worker-1",
        "end_recover": "job_reschedule_with_taint",
        "recover_records": [
            {
                "recover": "npu_step_retry",
                "fault_scenario": "chip_fault",
                "recover_result": "failed",
                "reason": None,
            }
        ],
    }
    job = SeenJob.of({"metadata": {"id": "1", "name": "j"}, "status": {"running_records": [record, None]}})
    assert job.story() == (
        "start 1: a card failed; repeated a step: failed",
        "start 1 ended (worker-1): node fault; started the whole job again, without the faulty machine",
    )


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        ("ErrImagePull: rpc error: unauthorized: authentication required", "image-denied"),
        ("Failed to pull image org/x:1: manifest unknown", "image-missing"),
        (PULL, "image-pull"),
        ("[worker-0][12s] Failed to download the training code. Failure cause: 403", "code-unreadable"),
        ("[worker-1] Failed to download the training input (data_url)", "input-unreadable"),
        ("FailedMount: Unable to attach or mount volumes", "volume-unmounted"),
        ("The training job is preempted.", "preempted"),
        ("The training job has been stopped. (Maximum running duration: 1 hour)", "platform-end"),
    ],
)
def test_what_an_event_says_of_a_job_without_a_word_of_its_own(message: str, rule: str) -> None:
    cause = cause_in([{"level": "Error", "message": message}, {"level": "Warning", "message": "no matter"}])
    assert cause is not None
    assert cause.rule == rule
    assert message[:30] in cause.words()
    assert cause_in([{"level": "Info", "message": message}]) is None


def test_every_row_of_events_has_an_event_here() -> None:
    assert len(event_rules()) == 8
