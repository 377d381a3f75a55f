"""What the logs of all processes of an attempt prove, as `explain --json` shows it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from launcher.diagnosis.evidence import Evidence, evidence_of
from launcher.diagnosis.stamps import stamp_of
from launcher.runs.loglines import LogLine
from launcher.runs.plogs import Plog

MOST = 50


@dataclass(frozen=True, slots=True)
class ShownEvidence:
    """A line of a log and what it proves. `role` and `weight` as in docs/diagnosis.md; `time` in unix seconds, 0 for unknown.

    `file`: `name:line` of a CANN log; empty for the log of the process.
    """

    process: str
    node: int
    rule: str
    code: str
    role: str
    weight: int
    line: str
    time: float
    file: str = ""


def evidence_in(lines: Sequence[LogLine], plogs: Sequence[Plog]) -> tuple[ShownEvidence, ...]:
    """The strongest first."""
    logs: dict[tuple[int, str], list[LogLine]] = {}
    for line in lines:
        if line.process != "node":
            logs.setdefault((line.node, line.process), []).append(line)
    evidence = [shown for own in logs.values() for shown in _of_log(own)]
    evidence += [shown for plog in plogs for shown in _of_plog(plog)]
    return tuple(sorted(evidence, key=lambda each: (-each.weight, each.time))[:MOST])


def _of_log(lines: Sequence[LogLine]) -> Iterator[ShownEvidence]:
    """Of one log, each line with its own time."""
    starts = [0, *accumulate(len(line.text) + 1 for line in lines)]
    for each in evidence_of("\n".join(line.text for line in lines)):
        line = lines[bisect_right(starts, each.offset) - 1]
        yield _shown(each, line.process, line.node, line.time)


def _of_plog(plog: Plog) -> Iterator[ShownEvidence]:
    for each in evidence_of(plog.text):
        number = plog.text.count("\n", 0, each.offset) + 1
        yield _shown(each, plog.process, plog.node, stamp_of(each.line) or 0.0, f"{plog.name}:{number}")


def _shown(each: Evidence, process: str, node: int, time: float, file: str = "") -> ShownEvidence:
    return ShownEvidence(
        process=process.replace("-", " "),
        node=node,
        rule=each.rule.id,
        code=each.code,
        role=each.rule.role,
        weight=each.weight,
        line=each.line,
        time=time,
        file=file,
    )
