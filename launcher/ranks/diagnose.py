"""From the exits and logs of a gang to one cause: who failed first, how, and the first line that says why."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import replace

from pydantic import BaseModel, ConfigDict

from launcher.ranks.causes import UNKNOWN, Rule, built_in, first_fit, signal_of
from launcher.ranks.gang import TEMPORARY_FAILURE, Exit, Outcome
from launcher.runfolder.errorlines import _TRACEBACK, error_lines

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


def how_it_ended(code: int) -> str:
    """An exit code in words; negative codes are signals, as subprocess has them, 128+n those of a shell."""
    if name := signal_of(code):
        return _SIGNAL_WORDS.get(name, f"killed by {name}")
    if code < 0:
        return f"killed by signal {-code}"
    if code == TEMPORARY_FAILURE:
        return "stopped itself with a checkpoint (exit code 75)"
    return f"ended with exit code {code}"


def find_cause(outcome: Outcome, host: str, own: Sequence[Rule] = (), node: int = 0) -> Cause:
    """The cause of a gang's end on machine `host`, which is `node` of the run; `own` are the rules of the job file."""
    cause = _find(outcome, f"{host} (node {node})", own)
    return cause.model_copy(update={"host": host})


def _find(outcome: Outcome, host: str, own: Sequence[Rule]) -> Cause:
    if outcome.undying:
        names = ", ".join(outcome.undying)
        words = f"{names} on {host} did not end after SIGKILL: the machine's driver or disk does not answer"
        return Cause(words=words, rule="undying", restart=False)
    if outcome.end_order is not None:
        return _of_end_order(outcome, host, own)
    assert outcome.failure is not None, "asked only about gangs that failed"
    by_themselves = [e for e in outcome.exits if e.code != 0 and not e.asked] or [outcome.failure]
    causes = sorted(
        (_of_exit(e, outcome, host, own) for e in by_themselves), key=lambda c: (c.consequence, c.at)
    )
    first = causes[0]
    if first.consequence:  # a process that failed before may still have been at its end when it was stopped
        hidden = [e for e in outcome.exits if e.asked and _had_failed(e, outcome)]
        deeper = [_of_exit(e, outcome, host, own) for e in hidden]
        first = next((cause for cause in deeper if not cause.consequence), first)
    return first


def _of_exit(exit_: Exit, outcome: Outcome, host: str, own: Sequence[Rule]) -> Cause:
    text = outcome.logs.get(exit_.process.name, "")
    lines = error_lines(text) or [line.strip() for line in text.splitlines() if _SYSTEM_ERROR.search(line)]
    line, rule = _judge(exit_.code, lines)
    words = f"{exit_.process.name} on {host} {how_it_ended(exit_.code)}" + (f": {line}" if line else "")
    if rule.says:
        words += f" ({rule.says})"
    wished = first_fit(own, exit_.code, f"{text}\n{words}")
    if wished is not None:
        rule = replace(rule, id=wished.id, restart=wished.restart, exclude_node=wished.exclude_node)
    return Cause(
        words=words,
        rule=rule.id,
        restart=rule.restart,
        consequence=rule.consequence,
        exclude_node=rule.exclude_node,
        at=exit_.at,
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


def _of_end_order(outcome: Outcome, host: str, own: Sequence[Rule]) -> Cause:
    end_order = outcome.end_order
    assert end_order is not None
    words = end_order.reason if end_order.kind == "not-learning" else f"{end_order.reason} (on {host})"
    at = max((e.at for e in outcome.exits), default=0.0)
    wished = first_fit(own, 0, "\n".join([words, *outcome.logs.values()]))
    restart = wished.restart if wished else end_order.kind != "not-learning"
    return Cause(
        words=words,
        rule=wished.id if wished else end_order.kind,
        restart=restart,
        exclude_node=wished.exclude_node if wished else False,
        at=at,
    )


def _had_failed(exit_: Exit, outcome: Outcome) -> bool:
    text = outcome.logs.get(exit_.process.name, "")
    return (
        exit_.code != 0
        and (exit_.code not in _STOPPED_BY_US or _TRACEBACK in text)
        and bool(error_lines(text))
    )
