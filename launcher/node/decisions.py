"""What follows the end of a step, decided on node 0 from the reports of all machines."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.node.messages import NextAction, StepReport
from launcher.ranks.diagnose import Cause
from launcher.ranks.restarts import Decision, RestartPolicy
from launcher.runfolder.states import FirstFailure


@dataclass(frozen=True, slots=True)
class CheckpointProgress:
    """Newest complete checkpoint at the start and at the end of a step; None: there is none."""

    before: int | None
    after: int | None


def decide_next(
    reports: Sequence[StepReport],
    policy: RestartPolicy,
    progress: CheckpointProgress,
    attempt: int,
    run_id: str,
) -> NextAction:
    """The next step when all ended well; else a restart as attempt `attempt` + 1, or the end of the run."""
    if all(report.ok for report in reports):
        return NextAction(do="next")
    stopped = next((report for report in reports if report.stop is not None), None)
    if stopped is not None:
        return NextAction(do="end", reason=stopped.stopped, stop=stopped.stop, orderly=True)
    cause = first_cause(reports).cause
    if cause is None:
        return NextAction(do="end", reason="stopped because of another machine, which did not say why")
    decision = policy.decide(cause, progress.before, progress.after, time.monotonic())
    return _action_after(cause, decision, attempt, run_id)


def _action_after(cause: Cause, decision: Decision, attempt: int, run_id: str) -> NextAction:
    failure = cause.failure or FirstFailure(rule=cause.rule, host=cause.host)
    failure = failure.model_copy(update={"repeats": not cause.restart and not cause.exclude_node})
    if decision.restart:
        return NextAction(
            do="restart",
            reason=decision.reason,
            failure=failure,
            attempt=attempt + 1,
            pause_s=decision.pause_s,
        )
    return NextAction(
        do="end",
        reason=decision.reason,
        hint=f"{decision.hint}; `launcher logs {run_id}` has the whole log" if decision.hint else "",
        failure=failure.model_copy(update={"no_progress": decision.no_progress}),
        exclude_host=decision.exclude_host,
        again=bool(decision.exclude_host) or cause.rule == "node-lost",
    )


def first_cause(reports: Sequence[StepReport]) -> StepReport:
    """The failed report that explains the others: consequences come last, then the strongest and the earliest cause counts."""
    failed = [report for report in reports if not report.ok]
    with_cause = [report for report in failed if report.cause is not None]
    if not with_cause:
        return failed[0]
    return min(with_cause, key=_place_in_line)


def _place_in_line(report: StepReport) -> tuple[bool, int, float]:
    """What decides between two causes; the smallest explains the others."""
    cause = report.cause
    return (cause.consequence, -cause.strength, cause.at) if cause else (False, 0, 0.0)
