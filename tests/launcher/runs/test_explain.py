"""Explanations read fields: each row of advice.yaml has a failure here, made as the node program makes it."""

from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import pytest

from launcher.advice.rows import Advice, advice_for, advice_rows
from launcher.backends.modelarts.causes import cause_in, event_rules
from launcher.backends.slurm.query import END_RULES
from launcher.diagnosis.rules import table
from launcher.errors import (
    LauncherError,
    NodeTrouble,
    NotFound,
    PlanError,
    StoreRefused,
    StoreUnreachable,
    UsageError,
)
from launcher.node.ending import end_of_error
from launcher.node.stopping import StopKind
from launcher.ranks.diagnose import find_cause
from launcher.ranks.gang import EndOrder, Exit, Outcome, Process
from launcher.runfolder.states import Attempt, AttemptResult, FirstFailure, State
from launcher.runs.explain import Costly, explain_run
from launcher.runs.folder import RunFolder
from tests.launcher.samples import NOW, Sample


def of_rank(code: int, line: str = "") -> FirstFailure | None:
    """What diagnosis makes of a rank that ended with `code` after it printed `line`."""
    ended = Exit(Process("rank 0", 0, ("true",), {}, Path(), Path("log")), code, 1.0)
    return find_cause(Outcome((ended,), ended, logs={"rank 0": line + "\n"}), "m1").failure


def of_order(kind: str, rule: str = "") -> FirstFailure | None:
    """What diagnosis makes of a gang that a watcher ended."""
    return find_cause(Outcome((), end_order=EndOrder(kind, "words", rule=rule)), "m1").failure


def of_error(error: LauncherError) -> FirstFailure | None:
    return end_of_error(error, 0).failure


def of_event(message: str) -> FirstFailure | None:
    """What is made of a job that ended with an event of its platform."""
    cause = cause_in([{"level": "Warning", "message": message}])
    return FirstFailure(rule=cause.rule) if cause else None


TORN = FirstFailure(process="rank 1", exit=1, no_progress=True)
FAILURES = {
    "no-devices": of_error(PlanError("8 ascend910 devices asked for, 4 here", rule="no-devices")),
    "stuck": of_order("not-learning", "stuck"),
    "store-unreachable": of_error(StoreUnreachable("no answer from http://127.0.0.1:9")),
    "not-found": of_error(NotFound("nothing there", where="obs://b/imagenet")),
    "no-checkpoint": of_error(UsageError("no complete checkpoint in obs://b/runs/x", rule="no-checkpoint")),
    "scheduler-limit": FirstFailure(rule=StopKind.SIGNAL.rule),
    "allocation-limit": FirstFailure(rule=StopKind.PLATFORM.rule),
    "time-limit": FirstFailure(rule=StopKind.TIME_LIMIT.rule),
    "hang": of_order("hang"),
    "undying": find_cause(Outcome((), undying=("rank 2",)), "m1").failure,
    "node-gone": of_error(NodeTrouble("node 1 (m2) was not heard of for 2 min 00 s")),
    "no-progress": TORN,
    "image": of_event("Error: ImagePullBackOff"),
    "platform-access": of_event("[worker-0] Failed to download the training code."),
    "volume": of_event("FailedMount: mount volume"),
    "preempted": of_event("The training job is preempted."),
}
"""Each row of advice.yaml has a failure here, as the node program makes it."""


@pytest.mark.parametrize("row", advice_rows(), ids=lambda row: row.id)
def test_each_advice_fits_its_failure(row: Advice) -> None:
    found = advice_for(FAILURES[row.id])
    assert found is not None
    assert found.id == row.id
    assert row.means.endswith(".")
    assert row.do


@pytest.mark.parametrize(
    ("failure", "rule", "repeats"),
    [
        (
            of_rank(1, "RuntimeError: Memory not enough: Device(id:3) memory isn't enough"),
            "device-memory",
            True,
        ),
        (of_rank(-9), "killed", False),
        (of_rank(-7), "shared-memory", True),
        (of_rank(-11), "crashed", False),
        (of_rank(1, "OSError: [Errno 28] No space left on device: 'checkpoints/step-4'"), "disk-full", False),
        (of_rank(1, "EI0014: Value 1.2 for config version is invalid"), "rank-table", True),
        (of_rank(2, "error: epochs: expected a whole number"), "usage", True),
        (of_rank(1, "KeyError: 'x'"), "bug", False),
        (of_error(StoreRefused("AccessDenied when calling PutObject")), "store-refused", True),
        (of_order("not-learning", "not-finite"), "not-finite", True),
    ],
)
def test_what_the_table_of_causes_knows_has_its_advice(
    failure: FirstFailure, rule: str, repeats: bool
) -> None:
    found = advice_for(failure)
    assert found is not None
    assert (found.id, found.repeats) == (rule, repeats)
    assert found.means == table()[rule].meaning(failure.code)


def test_no_advice_for_what_nobody_knows() -> None:
    assert advice_for(of_rank(41)) is None
    assert advice_for(None) is None


def test_results_that_are_not_in_the_store_have_their_advice() -> None:
    advice = advice_for(of_rank(41), unsafe=True)
    assert advice is not None
    assert advice.id == "store-unreachable"


def test_every_rule_that_advice_names_is_one_that_somebody_writes() -> None:
    """Rules of errors, of requests to stop, of watchers and of platforms."""
    written = {kind.rule for kind in StopKind} | set(END_RULES.values())
    written |= {each.rule for each in _all_errors(LauncherError)}
    written |= {row.rule for row in event_rules()}
    written |= {"no-devices", "no-checkpoint", "not-finite", "stuck", "hang", "undying", "node-gone"}
    for row in advice_rows():
        assert set(row.rules) <= written, row.id
        assert row.rules or row.unsafe or row.no_progress, row.id


def _all_errors(base: type[LauncherError]) -> list[type[LauncherError]]:
    return [base, *(each for sub in base.__subclasses__() for each in _all_errors(sub))]


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
    failure = FirstFailure(
        process="rank 3",
        rank=3,
        node=0,
        host="m1",
        device="ascend910 3",
        exit=1,
        rule="device-memory",
        line=TRACEBACK.splitlines()[-1],
        how="ended with exit code 1",
    )
    sample.state(State.FAILED, "rank 3 on m1 (node 0) ended with exit code 1", first_failure=failure)
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
    assert (
        found.next[-1] == f"launcher logs {sample.entry.run_id} --errors"
    )  # a resume would fail the same way
    verdict = found.to_json()["verdict"]
    assert (verdict["rule"], verdict["rank"], verdict["host"]) == ("device-memory", 3, "m1")
    assert verdict["repeats"] and verdict["means"] and verdict["advice"]
    shown = [(each["process"], each["rule"], each["code"]) for each in found.to_json()["evidence"]]
    assert ("rank 3", "device-memory", "") in shown
    assert ("rank 0", "notify-timeout", "EI0002") in shown


@pytest.mark.parametrize("own_log", [TRACEBACK, ""])
@pytest.mark.parametrize("file", ["", "plog/rank-3/plog-9.log:1"])
def test_what_is_left_out_changes_nothing_else(
    sample: Sample, monkeypatch: pytest.MonkeyPatch, own_log: str, file: str
) -> None:
    failure = FirstFailure(process="rank 3", rank=3, node=0, line="RuntimeError: no", exit=1, file=file)
    sample.state(State.FAILED, "rank 3 failed", first_failure=failure)
    sample.log("rank-3", own_log)
    sample.log("rank-0", "ValueError: no\n")
    sample.write("logs/attempt-1/node-0/plog/rank-3/plog-9.log", "[ERROR] HCCL(1): x\n")
    sample.write("logs/attempt-1/node-0/plog/rank-0/plog-8.log", "[ERROR] HCCL(1): y\n")
    view = sample.run.view()
    whole = explain_run(sample.entry, view)
    assert whole.later and whole.evidence
    parts: tuple[Costly, ...] = ("drift", "evidence", "later")
    for left_out in chain.from_iterable(combinations(parts, count) for count in range(4)):
        empty: dict[str, Any] = {name: type(getattr(whole, name))() for name in left_out}
        assert explain_run(sample.entry, view, without=left_out) == replace(whole, **empty)
    names = []
    read = RunFolder.read
    monkeypatch.setattr(
        RunFolder, "read", lambda folder, name, *start: names.append(name) or read(folder, name, *start)
    )
    explain_run(sample.entry, view, without=parts)
    assert ("logs/attempt-1/node-0/rank-0.log" in names) == (not own_log)
    assert "logs/attempt-1/node-0/plog/rank-0/plog-8.log" not in names


@pytest.mark.parametrize("margin", ["", "[1,3]<stderr>:", "(Worker pid=7) "])
def test_without_a_line_of_diagnosis_the_first_error_is_shown_whole(sample: Sample, margin: str) -> None:
    failure = FirstFailure(process="rank 3", rank=3, node=0, exit=41)
    sample.state(State.FAILED, "rank 3 failed", first_failure=failure)
    lines = [margin + line for line in TRACEBACK.splitlines()]
    sample.log("rank-3", "\n".join([*lines, "the end", *lines, ""]))
    found = explain_run(sample.entry, sample.run.view())
    assert (found.error_line, found.excerpt) == (lines[-1], tuple(lines[1:]))


def test_a_failure_without_a_log_is_explained_by_its_reason(sample: Sample) -> None:
    sample.state(State.FAILED, "the time limit of 2 s is over", first_failure=FAILURES["time-limit"])
    found = explain_run(sample.entry, sample.run.view())
    assert (found.process, found.error_line, found.advice) == ("", "", "time-limit")
    assert found.next[0] == f"launcher resume {sample.entry.run_id}"


def test_a_run_that_was_saved_by_a_restart_tells_what_had_failed(sample: Sample) -> None:
    attempts = (
        Attempt(
            attempt=1,
            started_at=NOW,
            ended_at=NOW + 5,
            outcome="rank 0 on m1 (node 0) crashed (SIGSEGV)",
            result=AttemptResult.FAILED,
            first_failure=of_rank(-11),
        ),
        Attempt(
            attempt=2,
            started_at=NOW + 6,
            ended_at=NOW + 9,
            outcome="done",
            result=AttemptResult.DONE,
            resumed_step=4,
        ),
    )
    sample.state(State.SUCCEEDED, attempts=attempts, attempt=2)
    found = explain_run(sample.entry, sample.run.view())
    assert (found.attempt, found.advice, found.how) == (1, "crashed", "crashed (SIGSEGV)")
    assert found.next == (f"launcher fetch-results {sample.entry.run_id}",)


def test_a_run_that_went_well_has_nothing_to_explain(sample: Sample) -> None:
    found = explain_run(sample.entry, sample.run.view())
    assert found.summary.startswith("nothing failed")
    assert found.advice == ""


def test_an_old_run_without_fields_says_less_and_nothing_wrong(sample: Sample) -> None:
    attempts = (
        Attempt(
            attempt=1, started_at=NOW, ended_at=NOW + 5, outcome="rank 0 on m1 (node 0) crashed (SIGSEGV)"
        ),
        Attempt(attempt=2, started_at=NOW + 6, ended_at=NOW + 9, outcome="done"),
    )
    sample.state(State.SUCCEEDED, attempts=attempts, attempt=2)
    found = explain_run(sample.entry, sample.run.view())
    assert found.summary.startswith("nothing failed in attempt 2")
    sample.state(State.FAILED, "rank 3 on m1 (node 0) crashed (SIGSEGV)\n  hint: do this")
    found = explain_run(sample.entry, sample.run.view())
    assert (found.process, found.rank, found.advice) == ("", None, "")
    assert found.summary.startswith("rank 3 on m1")
