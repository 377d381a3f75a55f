"""Runs on several machines: real node programs, each with a work folder of its own, that meet only in the store."""

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from launcher.plan.model import Step
from launcher.runfolder.attempts import newest_begun
from tests.launcher.node.machines import COUNTER, Machines, everything_ended_well
from tests.servers.s3 import S3Server
from tests.servers.stores import BUCKET
from tests.waiting import wait_until

pytestmark = pytest.mark.system

LONG = {"STEPS": "100000", "STEP_S": "0.1"}
"""Ends only when somebody ends it."""


def test_two_machines_meet_in_a_folder_and_finish_together(machines: Machines) -> None:
    machines.plan(env={"STEP_S": "0.1"})
    machines.start(0)
    wait_until(lambda: list(machines.store.list("rendezvous/")), "node 0 waits for node 1")
    machines.start(1)
    everything_ended_well(machines)


def test_a_program_for_rank_0_alone_runs_on_node_0_while_the_others_wait(machines: Machines) -> None:
    machines.plan()
    code = "import os; print(os.environ['RANK_SIZE'], os.environ.get('MS_ROLE'), flush=True)"
    export = Step(name="export", argv=(sys.executable, "-c", code), ranks="first")
    for node, plan in machines.plans.items():
        machines.plans[node] = plan.model_copy(update={"steps": (*plan.steps, export)})
        plan.run_dir.plan.write_text(machines.plans[node].model_dump_json())
    machines.start(0, 1)
    everything_ended_well(machines)
    assert machines.plans[0].run_dir.rank_log(1, 0, 0).read_text().endswith("1 None\n")
    assert "export" not in machines.log(1)


def test_two_machines_meet_in_a_bucket(
    tmp_path: Path, launcher_home: Path, rclone: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", rclone.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", rclone.secret_key)
    machines = Machines(tmp_path, f"s3://{BUCKET}/{tmp_path.name}", endpoint=rclone.endpoint)
    machines.plan()
    try:
        machines.start(0, 1)
        everything_ended_well(machines)
    finally:
        machines.end()


def test_a_failure_on_one_machine_restarts_all_from_the_same_checkpoint(machines: Machines) -> None:
    machines.plan(
        env={"FAIL_AT": "5:1:kill", "STEPS": "8", "HOLD_AT": "4", "RELEASE": str(machines.folder / "go")},
        retry={"max_restarts": 1, "backoff": "0s"},
    )
    machines.start(0, 1)
    wait_until((machines.plans[0].run_dir.checkpoints / "step-4").exists)
    (machines.folder / "go").touch()
    assert machines.codes() == [0, 0], machines.log(0) + machines.log(1)
    state = machines.state
    assert [a.attempt for a in state.attempts] == [1, 2]
    assert "rank 1" in state.attempts[0].outcome
    assert "(node 1) killed by SIGKILL" in state.attempts[0].outcome
    resumed = state.attempts[1].resumed_step
    assert resumed is not None
    assert resumed >= 4
    for rank in (0, 1):  # rank 1 has what only rank 0 had saved
        assert (
            f"starts after step {resumed}\n"
            in machines.plans[rank].run_dir.rank_log(2, rank, rank).read_text()
        )
    assert "attempt 2" in machines.log(1, attempt=2)


def test_before_ranks_start_the_store_knows_their_attempt(machines: Machines) -> None:
    """The machine of node 0 may be lost before its first upload: the next start must not count as the same attempt."""
    go = machines.folder / "go"
    machines.options["upload_every"] = "1h"
    machines.plan(
        env={"FAIL_AT": "2:1:kill", "HOLD_AT": "1,3", "HOLD_RESUMED": "4", "RELEASE": str(go)},
        retry={"max_restarts": 1, "backoff": "0s"},
    )
    machines.start(0, 1)
    machines.until(1, 1)
    assert newest_begun(machines.store) == 1
    go.with_name("go-1").touch()
    machines.until(1, 4)
    assert newest_begun(machines.store) == 2
    go.with_name("go-4").touch()
    assert machines.codes() == [0, 0], machines.log(0) + machines.log(1)


def test_a_failure_stops_the_other_machine_within_seconds(machines: Machines) -> None:
    machines.plan(env={"FAIL_AT": "3:1:exit 9", **LONG})
    machines.start(0, 1)
    machines.until(1, 2)
    assert machines.codes() == [100, 100]
    assert "rank 1" in machines.state.reason
    assert "exit code 9" in machines.state.reason


def test_a_machine_that_never_comes_is_named(machines: Machines) -> None:
    machines.plan(nodes=3)
    machines.start(2)
    wait_until(lambda: list(machines.store.list("rendezvous/")), "node 2 waits for node 0")
    plan = machines.plans[0]
    watch = plan.watch.model_copy(update={"nodes_timeout": 4})
    plan.run_dir.plan.write_text(plan.model_copy(update={"watch": watch}).model_dump_json())
    machines.start(0)
    assert machines.codes() == [100, 100]
    assert "node 1 of 3 did not come within" in machines.state.reason


def test_a_machine_that_fails_before_the_start_says_why(machines: Machines, tmp_path: Path) -> None:
    machines.plan(data={"url": str(tmp_path / "images")})
    (tmp_path / "images").mkdir()
    machines.start(0, 1)
    codes = machines.codes()
    assert codes == [100, 100]
    assert "images" in machines.state.reason


def test_sigterm_to_one_machine_stops_all_with_a_checkpoint(machines: Machines) -> None:
    machines.plan(env=LONG)
    machines.start(0, 1)
    machines.until(1, 5)
    os.kill(machines.programs[1].pid, signal.SIGTERM)
    codes = machines.codes()
    assert codes[1] == 75
    state = machines.state
    assert state.state == "FAILED"
    assert "stopped by SIGTERM" in state.reason
    assert state.safe_step is not None


def test_a_cancel_request_reaches_all_machines(machines: Machines) -> None:
    machines.plan(env=LONG)
    machines.start(0, 1)
    machines.until(0, 3)
    machines.store.put("cancel.json", b"{}")
    assert machines.codes() == [103, 103]
    assert machines.state.state == "CANCELLED"


def test_a_checkpoint_file_is_brought_to_the_machine_that_lacks_it(machines: Machines) -> None:
    """A program that knows nothing of the launcher: rank 0 saves for all, each machine has a disk of its own and loses it."""
    machines.plan(
        program=[sys.executable, str(COUNTER.with_name("saver.py"))],
        requires=["json"],
        resume_args=["--resume", "{resume}"],
        env={"FAIL_AT": "2"},
    )
    machines.start(0, 1)
    assert machines.codes() == [100, 100]
    for plan in machines.plans.values():
        shutil.rmtree(plan.run_dir.work)
    machines.start(0, 1, attempt=2)
    assert machines.codes() == [0, 0], machines.log(0, 2) + machines.log(1, 2)
    for node, plan in machines.plans.items():
        log = plan.run_dir.rank_log(2, node, node).read_text()
        assert f"rank {node} starts after epoch 2" in log
