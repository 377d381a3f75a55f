"""Whole runs through the local back end, with a training program that needs no framework."""

import hashlib
import json
import os
import signal
import time
from pathlib import Path

import pytest

from launcher.errors import PlanError
from launcher.states import State
from launcher.submission import cancel, resume


def test_a_run_succeeds_and_everything_is_in_its_folder(jobs, tmp_path: Path) -> None:
    view = jobs.run()
    assert (view.state, view.phase, view.reason) == (State.SUCCEEDED, "done", "")
    assert view.results == {"last": 0.021}
    assert view.safe_step == 6
    assert view.progress.step == 6
    folder = tmp_path / "runs" / view.run_id
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    names = {file["name"] for file in manifest["files"]}
    assert {"eval/last.json", "checkpoints/step-6/state.json", "logs/attempt-1/node-0/rank-0.log"} <= names
    for file in manifest["files"]:
        assert hashlib.sha256((folder / file["name"]).read_bytes()).hexdigest() == file["sha256"], file[
            "name"
        ]
    assert json.loads((folder / "checkpoints/LATEST").read_text())["step"] == 6
    for name in ("job.yaml", "plan.json", "record.json", "state.json", "status/node-0.json"):
        assert (folder / name).exists(), name
    assert (tmp_path / "runs" / ".runs" / view.run_id).exists()


def test_a_failing_rank_is_named_with_its_error_and_not_its_peers(jobs) -> None:
    view = jobs.run(devices=2, env={"FAIL_AT": "3:1:raise", "STEP_S": "0.2"})
    assert view.state is State.FAILED
    assert "rank 1" in view.reason
    assert "ValueError: no good at step 3" in view.reason
    assert "rank 0" not in view.reason


@pytest.mark.parametrize(("how", "words"), [("kill", "killed by SIGKILL"), ("exit 9", "exit code 9")])
def test_a_restart_goes_on_from_the_newest_checkpoint(jobs, how: str, words: str) -> None:
    view = jobs.run(env={"FAIL_AT": f"5:0:{how}"}, retry={"max_restarts": 1, "backoff": "1s"})
    assert view.state is State.SUCCEEDED
    assert view.results == {"last": 0.021}
    assert [attempt.resumed_step for attempt in view.attempts] == [None, 4]
    assert words in view.attempts[0].outcome


def test_restarts_have_a_limit(jobs) -> None:
    view = jobs.run(
        env={"FAIL_AT": "3:0:exit 9", "FAIL_ALWAYS": "1"}, retry={"max_restarts": 2, "backoff": "0s"}
    )
    assert view.state is State.FAILED
    assert "after 2 restarts" in view.reason
    assert view.attempt == 3


def test_what_would_fail_again_is_not_restarted(jobs) -> None:
    view = jobs.run(env={"FAIL_AT": "3:0:exit 2"}, retry={"max_restarts": 5, "backoff": "0s"})
    assert (view.state, view.attempt) == (State.FAILED, 1)
    assert "a restart would fail the same way" in view.reason


def test_a_hang_is_ended_and_restarted(jobs) -> None:
    view = jobs.run(
        env={"FAIL_AT": "3:0:hang"},
        watch={"hang_after": "2s", "grace": "1s"},
        retry={"max_restarts": 1, "backoff": "0s"},
    )
    assert view.state is State.SUCCEEDED
    assert "taken as a hang" in view.attempts[0].outcome


def test_results_of_a_failed_run_are_safe_too(jobs, tmp_path: Path) -> None:
    view = jobs.run(env={"FAIL_AT": "5:0:exit 9"})
    assert view.state is State.FAILED
    assert view.safe_step == 4
    assert (tmp_path / "runs" / view.run_id / "checkpoints" / "step-4" / "manifest.json").exists()


def test_cancel_saves_a_checkpoint_and_resume_finishes_the_same_run(jobs) -> None:
    entry = jobs.submit(env={"STEPS": "40", "STEP_S": "0.1"})
    jobs.until(entry, lambda view: (view.progress.step or 0) >= 3)
    cancel(entry)
    view = jobs.end(entry)
    assert view.state is State.CANCELLED
    step = view.safe_step
    assert step is not None
    assert step >= 3
    resumed = resume(jobs.index.find(entry.run_id), jobs.index)
    view = jobs.end(resumed)
    assert view.state is State.SUCCEEDED
    assert view.results == {"last": sum(range(41)) / 1000}
    assert (view.attempt, view.attempts[1].resumed_step) == (2, step)


def test_a_request_in_the_store_cancels_from_any_machine(jobs, tmp_path: Path) -> None:
    entry = jobs.submit(env={"STEPS": "400", "STEP_S": "0.1"})
    jobs.until(entry, lambda view: (view.progress.step or 0) >= 1)
    elsewhere = entry.model_copy(update={"handle": None, "work_dir": str(tmp_path / "not-here")})
    cancel(elsewhere)
    assert jobs.end(entry).state is State.CANCELLED


def test_a_killed_node_program_leaves_no_rank_and_is_told_as_failed(jobs) -> None:
    entry = jobs.submit(env={"STEPS": "60", "STEP_S": "0.1"})
    view = jobs.until(entry, lambda view: (view.progress.step or 0) >= 3 and bool(view.nodes[0].ranks[0].pid))
    os.kill(entry.handle.data["pid"], signal.SIGKILL)
    view = jobs.end(entry)
    assert view.state is State.FAILED
    assert "node program is gone" in view.reason
    rank = view.nodes[0].ranks[0].pid
    deadline = time.monotonic() + 5
    while Path(f"/proc/{rank}/cmdline").exists() and Path(f"/proc/{rank}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    finished = jobs.end(resume(jobs.index.find(entry.run_id), jobs.index))
    assert finished.attempts[1].resumed_step is not None


def test_a_time_limit_ends_a_run_with_a_checkpoint(jobs) -> None:
    view = jobs.run(env={"STEPS": "400", "STEP_S": "0.1"}, resources={"time_limit": "2s"})
    assert view.state is State.FAILED
    assert "time limit of 2 s" in view.reason
    assert view.safe_step is not None


def test_runs_on_the_same_devices_wait_in_order(jobs) -> None:
    cores = os.cpu_count() or 1
    first = jobs.submit(devices=cores, env={"STEPS": "20", "STEP_S": "0.1"})
    jobs.until(first, lambda view: view.state is State.RUNNING)
    second = jobs.submit(devices=cores)
    view = jobs.until(second, lambda view: view.phase == "queued" and bool(view.detail))
    assert view.state is State.QUEUED
    assert first.run_id in view.detail
    assert jobs.end(second).state is State.SUCCEEDED
    assert jobs.view(first).state is State.SUCCEEDED


def test_a_run_that_succeeded_is_not_resumed(jobs) -> None:
    entry = jobs.submit()
    jobs.end(entry)
    with pytest.raises(PlanError, match="nothing left to do"):
        resume(entry, jobs.index)


def test_a_run_started_from_another_ones_checkpoint_goes_on(jobs) -> None:
    entry = jobs.submit()
    jobs.end(entry)
    view = jobs.run(env={"STEPS": "10"}, model={"checkpoint": entry.store.url})
    assert view.state is State.SUCCEEDED
    assert view.results == {"last": 0.055}
