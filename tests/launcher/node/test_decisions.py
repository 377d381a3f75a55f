"""What follows the end of a step, from the reports of all machines."""

import pytest

from launcher.jobfile.spec import RetrySpec
from launcher.node.decisions import CheckpointProgress, decide_next
from launcher.node.messages import NextAction, StepReport
from launcher.node.stopping import StopKind
from launcher.ranks.diagnose import Cause
from launcher.ranks.restarts import RestartPolicy

OK = StepReport(ok=True)


def decide(*reports: StepReport, max_restarts: int = 3) -> NextAction:
    policy = RestartPolicy(RetrySpec(max_restarts=max_restarts, backoff=0))
    return decide_next(reports, policy, CheckpointProgress(None, 4), attempt=2, run_id="tnt-1")


def failed(words: str, **fields: object) -> StepReport:
    return StepReport(ok=False, cause=Cause(words=words, **fields))  # type: ignore[arg-type]


def test_the_next_step_follows_when_all_ended_well() -> None:
    assert decide(OK, OK) == NextAction(do="next")


def test_a_request_to_stop_ends_the_run_in_order_whatever_else_failed() -> None:
    stopped = StepReport(ok=False, stopped="cancelled on request", stop=StopKind.CANCEL)
    action = decide(failed("rank 1 lost its peer"), stopped)
    assert (action.do, action.stop, action.orderly) == ("end", StopKind.CANCEL, True)
    assert action.reason == "cancelled on request"


def test_a_failure_is_restarted_as_the_next_attempt() -> None:
    action = decide(OK, failed("rank 1 broke"))
    assert (action.do, action.attempt, action.reason) == ("restart", 3, "rank 1 broke")


def test_a_failure_that_would_repeat_ends_the_run_with_the_command_to_type() -> None:
    action = decide(failed("no module", restart=False, rule="import"))
    assert (action.do, action.again) == ("end", False)
    assert "`launcher logs tnt-1` has the whole log" in action.hint


@pytest.mark.parametrize(
    "fields", [{"rule": "node-lost", "restart": False}, {"exclude_node": True, "host": "m1"}]
)
def test_another_start_by_the_platform_may_help_when_a_machine_is_lost_or_left_out(
    fields: dict[str, object],
) -> None:
    action = decide(failed("node 1 was not heard of", **fields))
    assert (action.do, action.again) == ("end", True)
    assert action.exclude_host == fields.get("host", "")


def test_machines_that_all_stopped_because_of_another_one_end_the_run() -> None:
    action = decide(StepReport(ok=False), OK)
    assert action.do == "end"
    assert "did not say why" in action.reason
