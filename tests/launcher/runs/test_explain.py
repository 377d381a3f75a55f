"""Each row of advice.yaml has a failure here: the reason as the node program words it, and the log it was made from."""

from pathlib import Path

import pytest

from launcher.runfolder.states import Attempt, State
from launcher.runs.explain import advice_for, advice_rows, explain_run
from tests.launcher.samples import NOW, Sample

FAILURES = {
    "device-memory": "rank 3 on m1 (node 0) ended with exit code 1: RuntimeError: Memory not enough: Device(id:3) memory isn't enough and alloc failed",
    "host-memory": "rank 0 on m1 (node 0) killed by SIGKILL (out of memory, or by hand)",
    "shared-memory": "rank 0 on m1 (node 0) crashed (SIGBUS: is /dev/shm or the disk full?)",
    "disk-full": "rank 0 on m1 (node 0) ended with exit code 1: OSError: [Errno 28] No space left on device: 'checkpoints/step-4'",
    "EI0004": "rank 0 on m1 (node 0) ended with exit code 1: EI0004: The ranktable or rank is invalid. Reason: The ranktable config devicelist is invalid",
    "EI0014": "rank 0 on m1 (node 0) ended with exit code 1: EI0014: Value 1.2 for config version is invalid",
    "EI0005": "rank 5 on m1 (node 0) ended with exit code 1: EI0005: The arguments for collective communication are inconsistent between ranks: tag",
    "EI0006": "rank 7 on m1 (node 0) ended with exit code 1: EI0006: Getting socket times out. Reason: Remote Rank did not send the data in time",
    "EI0002": "rank 7 on m1 (node 0) ended with exit code 1: EI0002: The wait execution of the Notify register times out. Reason: The Notify register has not received the Notify record from remote rank 2",
    "EJ0001": "rank 0 on m1 (node 0) ended with exit code 1: EJ0001: Failed to initialize the HCCP process. Reason: Maybe the last training process is running",
    "no-devices": "8 ascend910 devices asked for, 4 here",
    "not-finite": "the loss is nan since about step 120; a lower learning rate or a longer warm-up may help",
    "stuck": "the loss has stood at 6.9078 for 5 epochs, which is ln(1000) = 6.9078: the model guesses; look at the learning rate",
    "import": "rank 0 on m1 (node 0) ended with exit code 1: ModuleNotFoundError: No module named 'mindspore'",
    "bug": "rank 0 on m1 (node 0) ended with exit code 1: TypeError: unsupported operand type(s) for +: 'int' and 'str'",
    "no-program": "rank 0 on m1 (node 0) ended with exit code 127: can't start ['train.sh']: No such file or directory",
    "usage": "rank 0 on m1 (node 0) ended with exit code 2: error: epochs: expected a whole number",
    "crash": "rank 0 on m1 (node 0) crashed (SIGSEGV)",
    "store-refused": "obs://b/runs: the store refused: AccessDenied when calling the PutObject operation",
    "store-unreachable": "results are on m1 in /work/x, but not all in the store: no answer from http://127.0.0.1:9",
    "no-data": "obs://b/imagenet: nothing there",
    "no-checkpoint": "no complete checkpoint in obs://b/runs/x",
    "scheduler-limit": "stopped by SIGTERM",
    "allocation-limit": "the time limit of the allocation is near",
    "time-limit": "the time limit of 12 h 30 min is over",
    "hang": "no progress and no log line for 30 min 00 s: taken as a hang; the stacks of all ranks are in their logs (on m1)",
    "cluster": "scheduler on m1 (node 0) ended with exit code 1: RuntimeError: Topology build timed out.",
    "undying": "rank 2 on m1 did not end after SIGKILL: the machine's driver or disk does not answer",
    "node-gone": "its node program is gone without a word (killed, or the machine was restarted); no checkpoint was in the store yet",
    "peer-lost": "rank 1 on m1 (node 0) ended with exit code 1: ConnectionResetError: [Errno 104] Connection reset by peer",
    "no-progress": "rank 1 on m1 (node 0) ended with exit code 1; 2 restarts in a row made no progress, so there is no other one",
}


@pytest.mark.parametrize("row", advice_rows(), ids=lambda row: row.id)
def test_each_advice_fits_its_failure(row) -> None:
    found = advice_for(FAILURES[row.id])
    assert found is not None
    assert found.id == row.id
    assert row.means.endswith(".")
    assert row.do


def test_no_advice_for_what_nobody_knows() -> None:
    assert advice_for("rank 0 on m1 (node 0) ended with exit code 41") is None


@pytest.fixture
def sample(launcher_home: Path, tmp_path: Path) -> Sample:
    sections = {"device": "ascend910", "devices_per_node": 8}
    return Sample(tmp_path, resources=sections)


TRACEBACK = """\
epoch 1
Traceback (most recent call last):
  File "train.py", line 3, in <module>
    step()
RuntimeError: Memory not enough: Device(id:3) memory isn't enough
"""


def test_the_first_failing_rank_with_host_device_code_and_error(sample: Sample) -> None:
    sample.state(
        State.FAILED, f"{FAILURES['device-memory'].partition(': ')[0]}: {TRACEBACK.splitlines()[-1]}"
    )
    sample.log("rank-3", TRACEBACK)
    sample.log(
        "rank-0", "ok\n[ERROR] HCCL(1,x):2026-11-21-10:00:00.1 EI0002: the Notify register times out\n"
    )
    found = explain_run(sample.entry, sample.run.view())
    assert (found.process, found.rank, found.host, found.node, found.device) == (
        "rank 3",
        3,
        "m1",
        0,
        "ascend910 3",
    )
    assert found.how == "ended with exit code 1"
    assert found.error_line == "RuntimeError: Memory not enough: Device(id:3) memory isn't enough"
    assert found.excerpt[0].startswith("Traceback")
    assert found.excerpt[-1] == found.error_line
    assert len(found.later) == 1
    assert found.later[0].startswith("rank 0: [ERROR] HCCL")
    assert found.advice == "device-memory"
    assert found.next[-1] == f"launcher resume {sample.entry.run_id}"


def test_a_failure_without_a_log_is_explained_by_its_reason(sample: Sample) -> None:
    sample.state(State.FAILED, "the time limit of 2 s is over")
    found = explain_run(sample.entry, sample.run.view())
    assert (found.process, found.error_line, found.advice) == ("", "", "time-limit")
    assert found.next[0] == f"launcher resume {sample.entry.run_id}"


def test_a_run_that_was_saved_by_a_restart_tells_what_had_failed(sample: Sample) -> None:
    attempts = (
        Attempt(attempt=1, started_at=NOW, ended_at=NOW + 5, outcome=FAILURES["crash"]),
        Attempt(attempt=2, started_at=NOW + 6, ended_at=NOW + 9, outcome="done", resumed_step=4),
    )
    sample.state(State.SUCCEEDED, attempts=attempts, attempt=2)
    found = explain_run(sample.entry, sample.run.view())
    assert (found.attempt, found.advice, found.how) == (1, "crash", "crashed (SIGSEGV)")
    assert found.next == (f"launcher fetch-results {sample.entry.run_id} --to DIR",)


def test_a_run_that_went_well_has_nothing_to_explain(sample: Sample) -> None:
    found = explain_run(sample.entry, sample.run.view())
    assert found.summary.startswith("nothing failed")
    assert found.advice == ""
