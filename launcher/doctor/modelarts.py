"""Checks of ModelArts for one job: its rules, its code, and whether the service takes our word."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.backends import get_backend
from launcher.backends.modelarts.rules import check_modelarts
from launcher.doctor.machine import Check, Status
from launcher.findings import Finding
from launcher.plan.model import Plan

_STATUS: dict[str, Status] = {"error": "fail", "warning": "warn", "info": "ok"}


def service_checks(plan: Plan) -> list[Check]:
    """Reads only. Blocks for some seconds when the service does not answer."""
    rules, service = check_modelarts(plan), get_backend("modelarts").check(plan)
    return [
        *(_as_check(finding) for finding in (*rules, *service)),
        *_summary("ModelArts: rules", rules, "the job breaks no rule of the platform"),
        *_summary("ModelArts: service", service, "it answers, and takes these credentials"),
    ]


def _as_check(finding: Finding) -> Check:
    return Check(f"{finding.rule}: {finding.where}", _STATUS[finding.severity], finding.message, finding.fix)


def _summary(name: str, findings: Sequence[Finding], words: str) -> list[Check]:
    return [] if any(finding.severity == "error" for finding in findings) else [Check(name, "ok", words)]
