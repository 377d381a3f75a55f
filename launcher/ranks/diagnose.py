"""From the exits and logs of a gang to one cause: who failed first, how, and the first line that says why."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from launcher.ranks.causes import UNKNOWN, Rule, built_in, first_fit, signal_of
from launcher.ranks.gang import TEMPORARY_FAILURE, EndOrder, Exit, Outcome
from launcher.runfolder.errorlines import _TRACEBACK, ascend_code, error_lines
from launcher.runfolder.states import FirstFailure

_SYSTEM_ERROR = re.compile(r"\[Errno \d+\]|No space left on device|Cannot allocate memory")
_SIGNAL_WORDS = {
    "SIGKILL": "killed by SIGKILL (out of memory, or by hand)",
    "SIGSEGV": "crashed (SIGSEGV)",
    "SIGABRT": "aborted (SIGABRT)",
    "SIGBUS": "crashed (SIGBUS: is /dev/shm or the disk full?)",
    "SIGTERM": "stopped by SIGTERM from outside",
}
_STOPPED_BY_US = (
    TEMPORARY_FAILURE,
    -signal.SIGTERM,
    -signal.SIGKILL,
    128 + signal.SIGTERM,
    128 + signal.SIGKILL,
)


class Cause(BaseModel):
    """Why a gang did not end well. `consequence`: it looks as if something else had failed before. `at` in unix seconds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    words: str
    rule: str = "unknown"
    restart: bool = True
    consequence: bool = False
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


def find_cause(outcome: Outcome, host: str, own: Sequence[Rule] = (), node: int = 0) -> Cause:
    """The cause of a gang's end on machine `host`, which is `node` of the run; `own` are the rules of the job file."""
    place = _Place(host, node)
    if outcome.undying:
        return _of_undying(outcome, place)
    if outcome.end_order is not None:
        return _of_end_order(outcome.end_order, outcome, place, own)
    assert outcome.failure is not None, "asked only about gangs that failed"
    by_themselves = [e for e in outcome.exits if e.code != 0 and not e.asked] or [outcome.failure]
    causes = sorted(
        (_of_exit(e, outcome, place, own) for e in by_themselves), key=lambda c: (c.consequence, c.at)
    )
    first = causes[0]
    if first.consequence:  # a process that failed before may still have been at its end when it was stopped
        hidden = [e for e in outcome.exits if e.asked and _had_failed(e, outcome)]
        deeper = [_of_exit(e, outcome, place, own) for e in hidden]
        first = next((cause for cause in deeper if not cause.consequence), first)
    return first


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


def _of_exit(exit_: Exit, outcome: Outcome, place: _Place, own: Sequence[Rule]) -> Cause:
    text = outcome.logs.get(exit_.process.name, "")
    lines = error_lines(text) or [line.strip() for line in text.splitlines() if _SYSTEM_ERROR.search(line)]
    line, rule = _judge(exit_.code, lines)
    how = how_it_ended(exit_.code)
    failure = FirstFailure(
        process=exit_.process.name,
        rank=exit_.process.rank,
        node=place.node,
        host=place.host,
        exit=exit_.code,
        signal=signal_of(exit_.code),
        rule=rule.id,
        code=ascend_code(line),
        line=line,
        how=how,
    )
    words = f"{exit_.process.name} on {place} {how}" + (f": {line}" if line else "")
    if rule.says:
        words += f" ({rule.says})"
    users_rule = first_fit(own, exit_.code, f"{text}\n{words}")
    decider = users_rule or rule
    return Cause(
        words=words,
        rule=decider.id,
        restart=decider.restart,
        consequence=rule.consequence,
        exclude_node=decider.exclude_node,
        at=exit_.at,
        host=place.host,
        failure=failure,
    )


def _judge(code: int, lines: Sequence[str]) -> tuple[str, Rule]:
    """The line that states the cause, and the rule that fits. A line about something lost elsewhere yields to others."""
    judged = [(line, first_fit(built_in(), code, line)) for line in lines]
    for line, rule in judged:
        if rule is None:
            return line, UNKNOWN
        if not rule.consequence:
            return line, rule
    if judged:
        line, rule = judged[0]
        return line, rule or UNKNOWN
    return "", first_fit(built_in(), code, "") or UNKNOWN


def _of_end_order(order: EndOrder, outcome: Outcome, place: _Place, own: Sequence[Rule]) -> Cause:
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


def _had_failed(exit_: Exit, outcome: Outcome) -> bool:
    text = outcome.logs.get(exit_.process.name, "")
    return (
        exit_.code != 0
        and (exit_.code not in _STOPPED_BY_US or _TRACEBACK in text)
        and bool(error_lines(text))
    )
