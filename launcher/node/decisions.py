"""What follows the end of a step, decided on node 0 from the reports of all machines."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.node.messages import StepReport


def first_cause(reports: Sequence[StepReport]) -> StepReport:
    """The failed report that explains the others: consequences come last, then the earliest cause counts."""
    failed = [report for report in reports if not report.ok]
    with_cause = [report for report in failed if report.cause is not None]
    if not with_cause:
        return failed[0]
    return min(with_cause, key=lambda r: (r.cause.consequence, r.cause.at) if r.cause else (True, 0.0))
