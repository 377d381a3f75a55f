"""From the exits and logs of a gang to one cause: who failed first, how, and the first line that says why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from launcher.diagnosis.rules import signal_of
from launcher.diagnosis.verdict import CERTAIN, Ended, Judgement, find_first
from launcher.printable import printable
from launcher.ranks.causes import OwnRule, first_fit
from launcher.ranks.gang import TEMPORARY_FAILURE, EndOrder, Exit, Outcome
from launcher.runfolder.states import FirstFailure

LINE_LIMIT = 300
"""So much of the line that states the cause stands in the reason of a run."""
STOPPED = "had failed before launcher stopped it"
"""The end of a process that launcher's own signal ended: the signal says nothing of why."""
_SIGNAL_WORDS = {
    "SIGKILL": "killed by SIGKILL (out of memory, or by hand)",
    "SIGSEGV": "crashed (SIGSEGV)",
    "SIGABRT": "aborted (SIGABRT)",
    "SIGBUS": "crashed (SIGBUS: is /dev/shm or the disk full?)",
    "SIGTERM": "stopped by SIGTERM from outside",
}


class Cause(BaseModel):
    """Why a gang did not end well. `consequence`: it looks as if something else had failed before. `at` in unix seconds.

    `strength` as in `launcher.diagnosis.verdict`: what decides between the causes that several machines report.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    words: str
    rule: str = "unknown"
    restart: bool = True
    consequence: bool = False
    strength: int = 3
    exclude_node: bool = False
    at: float = 0.0
    host: str = ""
    failure: FirstFailure | None = None


def how_it_ended(code: int) -> str:
    """An exit code in words; negative codes are signals, as subprocess has them, 128+n those of a shell."""
    if name := signal_of(code):
        return _SIGNAL_WORDS.get(name, f"killed by {name}")
    if code < 0:
        return f"killed by signal {-code}"
    if code == TEMPORARY_FAILURE:
        return "stopped itself with a checkpoint (exit code 75)"
    return f"ended with exit code {code}"


@dataclass(frozen=True, slots=True)
class _Place:
    """The machine that a gang ran on."""

    host: str
    node: int

    def __str__(self) -> str:
        return f"{self.host} (node {self.node})"


def find_cause(outcome: Outcome, host: str, own: Sequence[OwnRule] = (), node: int = 0) -> Cause:
    """The cause of a gang's end on machine `host`, which is `node` of the run; `own` are the rules of the job file."""
    place = _Place(host, node)
    if outcome.undying:
        return _of_undying(outcome, place)
    if outcome.end_order is not None:
        return _of_end_order(outcome.end_order, outcome, place, own)
    assert outcome.failure is not None, "asked only about gangs that failed"
    stopped_at = outcome.failure.at
    return _of_judgement(find_first([_ended(e, outcome, stopped_at) for e in outcome.exits]), place, own)


def find_own_cause(outcome: Outcome, host: str, own: Sequence[OwnRule] = (), node: int = 0) -> Cause | None:
    """The cause of a failure here in a gang that was stopped because of another machine; None when nothing failed."""
    stopped_at = min((e.at for e in outcome.exits if e.asked), default=0.0)
    judgement = find_first([_ended(e, outcome, stopped_at) for e in outcome.exits]) if outcome.exits else None
    if judgement is None or judgement.strength < CERTAIN:
        return None
    return _of_judgement(judgement, _Place(host, node), own)


def _ended(exit_: Exit, outcome: Outcome, stopped_at: float) -> Ended:
    name = exit_.process.name
    return Ended(
        name=name,
        rank=exit_.process.rank,
        code=exit_.code,
        at=exit_.at,
        log=outcome.logs.get(name, ""),
        asked=exit_.asked,
        asked_at=stopped_at if exit_.asked else 0.0,
        times=outcome.times.get(name, ()),
        others=outcome.plogs.get(name, ()),
    )


def _of_undying(outcome: Outcome, place: _Place) -> Cause:
    names = ", ".join(outcome.undying)
    how = "did not end after SIGKILL"
    words = f"{names} on {place} {how}: the machine's driver or disk does not answer"
    failure = FirstFailure(
        process=names if len(outcome.undying) == 1 else "",
        host=place.host,
        node=place.node,
        rule="undying",
        how=how,
    )
    return Cause(words=words, rule="undying", restart=False, host=place.host, failure=failure)


def _of_judgement(found: Judgement, place: _Place, own: Sequence[OwnRule]) -> Cause:
    process, line = found.process, printable(found.line)[:LINE_LIMIT]
    how = STOPPED if process.asked else how_it_ended(process.code)
    failure = FirstFailure(
        process=process.name,
        rank=process.rank,
        node=place.node,
        host=place.host,
        exit=process.code,
        signal=signal_of(process.code),
        rule=found.rule.id,
        code=found.code,
        line=line,
        file=found.file,
        peer=found.peer,
        how=how,
    )
    words = f"{process.name} on {place} {how}" + (f": {line}" if line else "")
    if found.code:
        words += f" ({found.means.rstrip('.')})"
    users_rule = first_fit(own, process.code, f"{process.log}\n{words}")
    return Cause(
        words=words,
        rule=users_rule.id if users_rule else found.rule.id,
        restart=users_rule.restart if users_rule else not found.repeats,
        consequence=found.consequence,
        strength=found.strength,
        exclude_node=users_rule.exclude_node if users_rule else found.rule.exclude_node,
        at=found.at,
        host=place.host,
        failure=failure,
    )


def _of_end_order(order: EndOrder, outcome: Outcome, place: _Place, own: Sequence[OwnRule]) -> Cause:
    learning = order.kind == "not-learning"
    words = order.reason if learning else f"{order.reason} (on {place})"
    users_rule = first_fit(own, 0, "\n".join([words, *outcome.logs.values()]))
    return Cause(
        words=words,
        rule=users_rule.id if users_rule else order.kind,
        restart=users_rule.restart if users_rule else not learning,
        exclude_node=users_rule.exclude_node if users_rule else False,
        at=max((e.at for e in outcome.exits), default=0.0),
        host=place.host,
        failure=FirstFailure(
            rank=order.rank, node=place.node, host=place.host, rule=order.rule or order.kind
        ),
    )
