"""From the evidence of all processes of a gang to one verdict: who failed first, by which rule, and whether a restart can help.

How it is weighed:
- in one log, what was written after the process had last got on counts; what it survived earlier only helps where that says little;
- a cause beats a consequence, and that beats a line which only points elsewhere; a weak cause (an inner error, a bare RuntimeError)
  yields to a consequence with a code;
- between processes, the strength of a cause decides first, then its time;
- what a process wrote after it was asked to stop is no cause, unless stopping can't bring it about.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from launcher.diagnosis.evidence import Evidence, evidence_of
from launcher.diagnosis.lines import last_progress, worth_a_look
from launcher.diagnosis.rules import Rule, table
from launcher.diagnosis.stamps import stamp_of

WEAK = 4
"""A cause of at most this weight yields to a consequence that is certain."""
SPECIFIC = 5
CERTAIN = 3
"""The strength of a cause by itself."""


@dataclass(frozen=True, slots=True)
class OtherLog:
    """What a library logged of a process into a file of its own. Its lines begin with their time."""

    name: str
    text: str


@dataclass(frozen=True)
class Ended:
    """A process that has ended, with its log and with what libraries logged elsewhere (`others`). `code` as in subprocess; `at` in unix seconds.

    `asked`: it had been asked to stop before, at `asked_at` (0 where that is not known). `times` are (offset in the log, unix seconds).
    """

    name: str
    rank: int | None
    code: int
    at: float
    log: str = ""
    asked: bool = False
    asked_at: float = 0.0
    times: tuple[tuple[int, float], ...] = ()
    others: tuple[OtherLog, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """What is thought of one process: the best evidence and how strong it is as the cause of the gang's end.

    3: a cause by itself. 2: it failed, and does not say why. 1: something else failed before. 0: nothing stands against it.
    """

    process: Ended
    rule: Rule
    strength: int
    at: float
    line: str = ""
    code: str = ""
    peer: int | None = None
    file: str = ""
    evidence: tuple[Evidence, ...] = ()

    @property
    def repeats(self) -> bool:
        """Whether a restart would fail the same way. Exit code 2 says so by itself."""
        return self.rule.repeats or (self.process.code == 2 and not self.process.asked)

    @property
    def consequence(self) -> bool:
        return self.strength <= 1

    @property
    def means(self) -> str:
        return self.rule.meaning(self.code)


def find_first(processes: Sequence[Ended]) -> Judgement:
    """The process that failed first, and why. Takes at least one process."""
    findings = [judge(process) for process in processes]
    if len([each for each in processes if each.rank is not None]) <= 1:
        findings = [_alone(each) for each in findings]
    named = {each.peer for each in findings if each.strength == 1 and each.peer is not None}
    return min(findings, key=lambda each: _order(each, named))


def _order(each: Judgement, named: set[int]) -> tuple[int, bool, bool, float]:
    """Who is blamed first. Of consequences those that tell of a card or machine, then those of ranks that others waited for."""
    waits = each.strength == 1 and each.rule.whose == "peer"
    return -each.strength, waits, each.process.rank not in named, each.at


def judge(process: Ended) -> Judgement:
    """What the log and the end of one process say."""
    pieces = [_dated(each, process) for each in evidence_of(process.log)]
    pieces += _of_others(process)
    if process.asked:
        pieces = [each for each in pieces if _counts_after_stop(each, process)]
    best = _best(pieces, process)
    if best is None:
        return _by_its_end(process, tuple(pieces))
    strength = _strength(best)
    return Judgement(
        process=process,
        rule=best.rule,
        strength=strength,
        at=best.time or process.at,
        line=best.line,
        code=best.code,
        peer=best.peer,
        file=best.file,
        evidence=tuple(pieces),
    )


def _dated(each: Evidence, process: Ended) -> Evidence:
    index = bisect_right(process.times, (each.offset, float("inf"))) - 1
    return replace(each, time=process.times[index][1]) if index >= 0 else each


def _of_others(process: Ended) -> list[Evidence]:
    """Evidence of the other logs, in the order of time. What was logged before the process got on is earlier."""
    if not process.others:
        return []
    got_on = _got_on_at(process)
    starts = [0, *accumulate(len(other.text) + 1 for other in process.others)]
    pieces = []
    joined = "\n".join(other.text for other in process.others)  # one log: the time is bounded for each
    for each in evidence_of(joined):
        index = bisect_right(starts, each.offset) - 1
        other = process.others[index]
        line = other.text.count("\n", 0, each.offset - starts[index]) + 1
        at = stamp_of(each.line) or 0.0
        pieces.append(replace(each, time=at, earlier=bool(at and at < got_on), file=f"{other.name}:{line}"))
    return sorted(pieces, key=lambda each: each.time or process.at)


def _got_on_at(process: Ended) -> float:
    """When the process last reported a step or an epoch as done; 0 where that is not known."""
    at = last_progress(process.log, worth_a_look(process.log)) if process.others else -1
    index = bisect_right(process.times, (at, float("inf"))) - 1
    return process.times[index][1] if at >= 0 and index >= 0 else 0.0


def _counts_after_stop(each: Evidence, process: Ended) -> bool:
    """Whether evidence of a process that was asked to stop can be a cause of its own."""
    if each.role != "cause" or each.earlier or each.weight < SPECIFIC:
        return False
    if each.raised or not process.asked_at or not each.time:
        return each.rule.repeats or each.raised or each.weight > SPECIFIC
    return each.rule.repeats or each.time < process.asked_at


def _best(pieces: Sequence[Evidence], process: Ended) -> Evidence | None:
    """The evidence that says why the process ended; None when its exit code or signal says more."""
    final = [each for each in pieces if not each.earlier]
    causes = [each for each in final if each.role == "cause"]
    followed = [each for each in final if each.role == "consequence"]
    best = _strongest(causes)
    result = _strongest(followed)
    if best is not None and best.weight >= SPECIFIC:
        return best
    if result is not None and result.weight >= SPECIFIC:
        return result
    before = [each for each in pieces if each.earlier and each.role == "cause" and not each.raised]
    before = [each for each in before if each.weight >= SPECIFIC]
    if before and (best is not None or result is not None):
        return _strongest(before)
    ended = table().of_exit(process.code)
    if (
        ended is not None
        and not process.asked
        and ended.weight > (best.weight if best and not best.weak else 0)
    ):
        return None
    if best is not None or result is not None:
        return best or result
    generic = [each for each in final if each.role == "generic"]
    generic = [each for each in generic if each.raised] or generic
    return generic[-1] if generic else None


def _strongest(pieces: Sequence[Evidence]) -> Evidence | None:
    """By weight; of equal ones the last exception, else the first line."""
    if not pieces:
        return None
    weight = max(each.weight for each in pieces)
    equal = [each for each in pieces if each.weight == weight]
    raised = [each for each in equal if each.raised]
    return raised[-1] if raised else equal[0]


def _strength(best: Evidence) -> int:
    if best.role == "consequence":
        return 1
    if best.role == "generic" or best.weak or best.weight <= WEAK:
        return 2
    return 3


def _by_its_end(process: Ended, pieces: tuple[Evidence, ...]) -> Judgement:
    """No line says why: the exit code or the signal does."""
    rules = table()
    rule = rules.of_exit(process.code) or rules["unknown"]
    line = next((each.line for each in reversed(pieces) if not each.earlier), "")
    if process.code == 0 or process.asked:
        strength = 0
    elif rule.role == "consequence":
        strength = 1
    else:
        strength = 3 if rule.id != "unknown" else 2
    return Judgement(process, rule, strength, process.at, line=line, evidence=pieces)


def _alone(judgement: Judgement) -> Judgement:
    """With one rank no other one can be the cause."""
    return (
        replace(judgement, strength=2)
        if judgement.strength == 1 and judgement.process.rank is not None
        else judgement
    )
