"""Whole runs through the local back end, with a training program that needs no framework."""

import contextlib
import hashlib
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from launcher.errors import PlanError
from launcher.runfolder.states import State
from launcher.submission.cancel import cancel
from launcher.submission.resume import resume
from tests.launcher.node.conftest import Clocks
from tests.launcher.node.machines import begin_programs_with
from tests.waiting import wait_until

LONG = {"STEPS": "100000", "STEP_S": "0.1"}
"""Ends only when somebody ends it."""


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


LATE = """
import os, subprocess, time
begin = subprocess.Popen.__init__

def late(self, command, **options):
    begin(self, command, **options)
    environment = options.get("env") or {}
    if "LATE" in environment and "LATE" not in os.environ:
        while not os.path.exists(os.path.join(environment["LAUNCHER_RUN_DIR"], environment["LATE"])):
            time.sleep(0.01)

subprocess.Popen.__init__ = late
"""
"""A node program gets on only when the file LATE of its run is there."""


def test_what_a_rank_reports_before_the_node_program_gets_on_counts(
    jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_programs_with(LATE, tmp_path / "late", monkeypatch)
    go, set_of_step_2 = tmp_path / "go", "checkpoints/step-2/manifest.json"
    entry = jobs.submit(env={"HOLD_AT": "2", "RELEASE": str(go), "LATE": set_of_step_2})
    view = jobs.until(entry, lambda view: view.progress.step == 2)
    assert (view.phase, view.nodes[0].ranks[0].phase) == ("training", "training")
    go.touch()
    assert jobs.end(entry).state is State.SUCCEEDED


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


def test_a_hang_is_ended_and_restarted(jobs, clocks: Clocks) -> None:
    entry = jobs.submit(
        env={"FAIL_AT": "3:0:hang"},
        watch={"hang_after": "60s"},
        retry={"max_restarts": 1, "backoff": "0s"},
    )
    jobs.until(entry, lambda view: view.progress.step == 2)
    clocks.pass_until(jobs, lambda view: view.attempt == 2 or view.state.terminal)
    view = jobs.end(entry)
    assert view.state is State.SUCCEEDED
    assert "taken as a hang" in view.attempts[0].outcome


def test_results_of_a_failed_run_are_safe_too(jobs, tmp_path: Path) -> None:
    view = jobs.run(env={"FAIL_AT": "5:0:exit 9"})
    assert view.state is State.FAILED
    assert view.safe_step == 4
    assert (tmp_path / "runs" / view.run_id / "checkpoints" / "step-4" / "manifest.json").exists()


def test_cancel_saves_a_checkpoint_and_resume_finishes_the_same_run(jobs) -> None:
    entry = jobs.submit(env={"STEPS": "8", "HOLD_AT": "3"})
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
    assert view.results == {"last": sum(range(9)) / 1000}
    assert (view.attempt, view.attempts[1].resumed_step) == (2, step)


def test_a_request_in_the_store_cancels_from_any_machine(jobs, tmp_path: Path) -> None:
    entry = jobs.submit(env=LONG)
    jobs.until(entry, lambda view: (view.progress.step or 0) >= 1)
    elsewhere = entry.model_copy(update={"handle": None, "work_dir": str(tmp_path / "not-here")})
    cancel(elsewhere)
    assert jobs.end(entry).state is State.CANCELLED


def test_a_killed_node_program_leaves_no_rank_and_counts_as_failed(jobs) -> None:
    entry = jobs.submit(env={"HOLD_AT": "4"})
    view = jobs.until(entry, lambda view: (view.progress.step or 0) >= 3 and bool(view.nodes[0].ranks[0].pid))
    os.kill(entry.handle.data["pid"], signal.SIGKILL)
    view = jobs.end(entry)
    assert view.state is State.FAILED
    assert "node program is gone" in view.reason
    rank = view.nodes[0].ranks[0].pid
    wait_until(lambda: not lives(str(rank)))
    finished = jobs.end(resume(jobs.index.find(entry.run_id), jobs.index))
    assert finished.attempts[1].resumed_step is not None


def test_a_time_limit_ends_a_run_with_a_checkpoint(jobs, clocks: Clocks) -> None:
    entry = jobs.submit(env=LONG, resources={"time_limit": "12h"})
    jobs.until(entry, lambda view: view.progress.step is not None)
    clocks.pass_time(12 * 3600)
    view = jobs.end(entry)
    assert view.state is State.FAILED
    assert "time limit of 12 h" in view.reason
    assert view.safe_step is not None


def test_runs_on_the_same_devices_wait_in_order(jobs) -> None:
    cores = os.cpu_count() or 1
    first = jobs.submit(devices=cores, env={"HOLD_AT": "2", "RELEASE": str(jobs.folder / "go")})
    jobs.until(first, lambda view: view.state is State.RUNNING)
    second = jobs.submit(devices=cores)
    view = jobs.until(second, lambda view: view.phase == "queued" and bool(view.detail))
    assert view.state is State.QUEUED
    assert first.run_id in view.detail
    (jobs.folder / "go").touch()
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


def lives(pid: str) -> bool:
    """Not so for one that nobody has waited for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_rank_that_leaves_in_the_middle_is_a_failure_at_once(jobs) -> None:
    view = jobs.run(devices=2, env={"FAIL_AT": "3:1:exit 0", **LONG})
    assert view.state is State.FAILED
    assert "rank 1 ended with exit code 0 in the middle of training" in view.reason


def test_a_loss_that_is_no_number_ends_the_run_without_a_new_checkpoint(jobs) -> None:
    view = jobs.run(
        env={"LOSS": "nan", "STEPS": "100000", "STEP_S": "0.3"}, retry={"max_restarts": 3, "backoff": "0s"}
    )
    assert (view.state, view.attempt) == (State.FAILED, 1)
    assert "the loss is nan" in view.reason


def test_a_guard_that_only_warns_lets_the_run_go_on(jobs) -> None:
    env = {"LOSS": "inf", "HOLD_AT": "4", "RELEASE": str(jobs.folder / "go")}
    entry = jobs.submit(env=env, watch={"guard": "warn"})
    jobs.until(entry, lambda view: bool(view.nodes and view.nodes[0].warning))
    (jobs.folder / "go").touch()
    view = jobs.end(entry)
    assert view.state is State.SUCCEEDED
    assert "the loss is inf" in view.nodes[0].warning


def test_a_flood_of_log_lines_keeps_to_its_limit(jobs) -> None:
    view = jobs.run(env={"FAIL_AT": "2:0:flood"}, watch={"log_limit": 60_000})
    assert view.state is State.SUCCEEDED
    logs = jobs.entries[0].run_dir.logs(1, 0)
    sizes = [path.stat().st_size for path in logs.glob("rank-0*.log")]
    assert len(sizes) == 3
    assert sum(sizes) < 2 * 60_000
    assert (logs / "rank-0.head.log").read_text().startswith("rank 0 of 1 starts")


def test_a_rank_that_closed_its_log_goes_on(jobs) -> None:
    view = jobs.run(env={"FAIL_AT": "2:0:close"})
    assert (view.state, view.results) == (State.SUCCEEDED, {"last": 0.021})


def test_nothing_that_a_rank_started_outlives_the_run(jobs) -> None:
    view = jobs.run(env={"FAIL_AT": "2:0:worker"})
    assert view.state is State.SUCCEEDED
    log = (jobs.entries[0].run_dir.logs(1, 0) / "rank-0.log").read_text()
    pid = next(line.split()[1] for line in log.splitlines() if line.startswith("worker"))
    assert not lives(pid)


def test_a_resumed_run_first_ends_what_the_one_before_left(jobs) -> None:
    """Node program and keeper are killed at once: nobody is left to clean up but the next attempt."""
    entry = jobs.submit(env={"FAIL_AT": "2:0:worker", "HOLD_AT": "4"})
    jobs.until(entry, lambda view: (view.progress.step or 0) >= 4)
    keeper = next(
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if b"orphans.py" in path.read_bytes() and entry.run_id.encode() in path.read_bytes()
    )
    os.kill(keeper, signal.SIGKILL)
    os.kill(entry.handle.data["pid"], signal.SIGKILL)
    assert jobs.end(entry).state is State.FAILED
    log = (entry.run_dir.logs(1, 0) / "rank-0.log").read_text()
    pid = next(line.split()[1] for line in log.splitlines() if line.startswith("worker"))
    assert lives(pid)
    assert jobs.end(resume(jobs.index.find(entry.run_id), jobs.index)).state is State.SUCCEEDED
    assert not lives(pid)
    assert "ended 1 process(es)" in (entry.run_dir.logs(2, 0) / "node.log").read_text()


def test_rules_of_the_job_decide_before_ours(jobs) -> None:
    rules = [{"match": "exit 9", "do": "fail"}]
    view = jobs.run(env={"FAIL_AT": "3:0:exit 9"}, retry={"max_restarts": 3, "backoff": "0s", "on": rules})
    assert (view.state, view.attempt) == (State.FAILED, 1)
    assert "retry.on[0]" in view.reason


def test_a_machine_that_a_rule_leaves_out_is_named_in_the_state(jobs) -> None:
    rules = [{"signal": "SIGKILL", "do": "restart", "exclude_node": True}]
    view = jobs.run(env={"FAIL_AT": "3:0:kill"}, retry={"max_restarts": 3, "backoff": "0s", "on": rules})
    assert view.state is State.FAILED
    assert "is to be left out, by retry.on[0]" in view.reason
    state = json.loads(jobs.entries[0].run_dir.state.read_text())
    assert state["exclude_hosts"] == [socket.gethostname()]


def test_every_attempt_has_its_own_log_of_the_node_program(jobs) -> None:
    jobs.run(env={"FAIL_AT": "3:0:kill"}, retry={"max_restarts": 1, "backoff": "0s"})
    first, second = (
        (jobs.entries[0].run_dir.logs(attempt, 0) / "node.log").read_text() for attempt in (1, 2)
    )
    assert "killed by SIGKILL" in first
    assert "attempt 2 starts from checkpoint step 2" in second
    assert "all programs ended well" in second
    assert "all programs ended well" not in first


def test_a_zombie_program_changes_nothing_once_a_later_attempt_has_begun(jobs, tmp_path: Path) -> None:
    """Attempt 1 goes on somewhere while attempt 2 is under way: it ends itself, and neither commits nor says how it ended."""
    entry = jobs.submit(env=LONG)
    view = jobs.until(entry, lambda view: view.safe_step is not None)
    folder = tmp_path / "runs" / entry.run_id
    (folder / "attempts" / "2").write_bytes(b"")
    wait_until(lambda: os.waitpid(entry.handle.data["pid"], os.WNOHANG)[0])
    assert json.loads((folder / "state.json").read_text())["state"] == "RUNNING"
    assert not (folder / "MANIFEST.json").exists()
    assert json.loads((folder / "checkpoints" / "LATEST").read_text())["attempt"] == 1
    assert not [pid for pid in view.nodes[0].ranks if lives(str(pid.pid))]


@pytest.mark.parametrize("restarts", [0, 3])
def test_a_run_that_filled_its_disk_says_so(jobs, small_disk: Path, restarts: int) -> None:
    output = {
        "url": str(jobs.folder / "runs"),
        "work_dir": str(small_disk),
        "upload_every": "1s",
        "upload_patience": "2s",
    }
    retry = {"max_restarts": restarts, "backoff": "0s"}
    entry = jobs.submit(env=LONG, output=output, retry=retry)
    jobs.until(entry, lambda view: (view.progress.step or 0) >= 3)
    with (small_disk / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096):
            pass
    view = jobs.end(entry)
    assert view.state is State.FAILED
    assert "rank 0" in view.reason
    assert "No space left on device" in view.reason
