"""What a check found: a rule's id, how bad it is, what is wrong, where, and how to put it right.

Every check of this project (rank tables, devices, plans) answers with these values and never prints.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["error", "warning", "info", "ok"]
"""`ok` is the answer of a check that always gives one, such as those of `launcher doctor`."""
Source = Literal["job", "store", "platform"]

_ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2, "ok": 3}


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of one rule. `rule` is a stable id such as RT007; `where` is a place a user can find.

    `source` tells what is at fault when the finding forbids a run: the job itself, a store, or the platform.
    """

    rule: str
    severity: Severity
    message: str
    where: str = ""
    fix: str = ""
    source: Source = "job"

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        text = f"{self.severity} {self.rule} {place}{self.message}"
        return f"{text}\n  fix: {self.fix}" if self.fix else text

    def to_dict(self) -> dict[str, str]:
        """Rule, severity, message, where and fix under their names, for JSON output."""
        return {key: value for key, value in asdict(self).items() if key != "source"}


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Only those that must stop a run."""
    return [finding for finding in findings if finding.severity == "error"]


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Errors, then warnings, then notes; each group in the order it was found."""
    return sorted(findings, key=lambda finding: _ORDER[finding.severity])
