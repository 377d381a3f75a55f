"""The rows of a campaign as Markdown."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

COLUMNS = {
    "lost": "lost:",
    "torn": "torn:",
    "orphaned": "orphans:",
    "locks left": "locks left:",
    "hung or failed": "hung or failed",
    "wrong reason": "misjudged",
    "double attempt": "double attempt",
    "different": "different from",
    "only in rounding": "rounding",
}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One line per fault, and the phases that were hit. Rows of faults that met nothing are not counted."""
    met = [row for row in rows if row["hit"] or row["fault"] == "none"]
    head = ["fault", "injections", "restarts", "resumes", *COLUMNS]
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    by_fault: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for row in met:
        by_fault[row["fault"]].append(row)
    control = by_fault.pop("none", [])
    disturbed = [row for row in met if row["fault"] != "none"]
    for fault, found in sorted(by_fault.items()):
        lines.append(_line(fault, found))
    lines.append(_line("**all**", disturbed))
    if control:
        lines.append(_line("control: nothing", control))
    phases = collections.Counter(row["phase"] for row in disturbed)
    lines += [
        "",
        "Phase at the moment of the fault: " + ", ".join(f"{k} {v}" for k, v in phases.most_common()),
    ]
    moments = collections.Counter(row["moment"] for row in disturbed)
    lines += ["", "Moment aimed at: " + ", ".join(f"{k} {v}" for k, v in moments.most_common())]
    if late := len(rows) - len(met):
        lines += ["", f"Not counted: {late} runs that had ended before the fault."]
    return "\n".join(lines)


def _line(name: str, found: Sequence[dict[str, Any]]) -> str:
    words = [" ".join(row["wrong"]) for row in found]
    restarts = sum(row["attempts"] - 1 - row["resumes"] for row in found)
    resumes = sum(row["resumes"] for row in found)
    counts = [sum(key in text for text in words) for key in COLUMNS.values()]
    return f"| {' | '.join([name, *map(str, [len(found), restarts, resumes, *counts])])} |"
