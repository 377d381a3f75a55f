"""What the logs of all processes of an attempt prove, as `explain --json` shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import nsmallest

from launcher.diagnosis.evidence import Evidence, evidence_of
from launcher.diagnosis.lines import SMALL
from launcher.diagnosis.stamps import stamp_of
from launcher.runs.plogs import Plog
from launcher.runs.processlog import ProcessLog

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


def evidence_in(logs: Sequence[ProcessLog], plogs: Sequence[Plog]) -> tuple[ShownEvidence, ...]:
    """The strongest first, of equal ones the earliest."""
    pieces = [piece for log in logs if log.process != "node" for piece in _pieces(log)]
    weights = sorted((each.weight for _, _, each in pieces), reverse=True)
    least = weights[MOST - 1] if len(weights) > MOST else 0  # the rest is not shown, whatever its time
    rows = [
        (each, log.process, log.source.node, log.time_at(place), "")
        for log, place, each in pieces
        if each.weight >= least
    ]
    rows += [row for plog in plogs for row in _of_plog(plog)]
    return tuple(_shown(*row) for row in nsmallest(MOST, rows, key=lambda row: (-row[0].weight, row[3])))


def _pieces(log: ProcessLog) -> Iterator[tuple[ProcessLog, int, Evidence]]:
    """The evidence of one log with its place in the text, in the order of the log."""
    if not log.tail:
        return
    text, begin = log.text[:-1], 0
    if len(text) <= SMALL:  # what stands before the first error changes nothing
        text, begin = log.tail[:-1], len(log.text) - len(log.tail)
    for each in _evidence(text) if len(text) <= SMALL else evidence_of(text):
        yield log, begin + each.offset, each


@lru_cache(maxsize=64)
def _evidence(tail: str) -> tuple[Evidence, ...]:
    return tuple(evidence_of(tail))


def _of_plog(plog: Plog) -> Iterator[tuple[Evidence, str, int, float, str]]:
    for each in evidence_of(plog.text):
        number = plog.text.count("\n", 0, each.offset) + 1
        yield each, plog.process, plog.node, stamp_of(each.line) or 0.0, f"{plog.name}:{number}"


def _shown(each: Evidence, process: str, node: int, time: float, file: str) -> ShownEvidence:
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
