"""What the lines of one log prove: codes, return codes, exceptions and phrases of the table, each with its rule and weight."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import islice

from launcher.diagnosis.forms import form_of
from launcher.diagnosis.lines import (
    ERROR_WORDS,
    Line,
    any_of,
    last_progress,
    worth_a_look,
)
from launcher.diagnosis.rules import Rule, Table, table
from launcher.diagnosis.tracebacks import TRACEBACK, exception_name

PHRASE_LIMIT = 1024
"""Phrases are searched in this much of a line; codes in all of it."""
MOST = 400
"""Pieces of evidence kept of one log: the first and the last of each kind go first."""

_CODE = re.compile(
    r"(?:(?<=\()|(?<=\[)|(?<=')|(?<=\")|(?<![\w=]))(?P<code>E(?:[A-Z]\d{4}|\d{5}))(?:(?=[:)\]'\"])|(?=\s\s)|(?=\s*$))"
)
_ANY_CODE = re.compile(r"E(?:[A-Z]\d{4}|\d{5})")
_RETURN = re.compile(
    r"(?i)(?:\bret(?:urn)?(?:[ _]?code)?|errcode|error ?code|\bfailed|\bis)\W{0,4}(?:is\W{0,2})?(?P<number>[1-5]\d{5})\b"
)
_NUMBER = re.compile(r"[1-5]\d{5}")
_GLOG = re.compile(r"^\[(?P<level>ERROR|CRITICAL|EXCEPTION|FATAL)\]")
_PLAIN = re.compile(
    r"^(?:OpenBLAS |libgomp: |[Ll]oss is -?(?:nan|inf)|[\w.]{0,120}(?:Error|Exception|Interrupt|Exit|Expired)\b|(?:error|fatal|FATAL|ERROR|Fatal)\b[: ]|[\w./-]{1,200}: error: |\S{0,200}python\S{0,20}: (?:No module|can't open)|can't start )"
)
_LEVEL = re.compile(r"^[^\n]{0,80}?(?<![\w-])(?:ERROR|CRITICAL|FATAL|Error)(?![\w-])[\]:| -]")
"""A logger's level near the beginning of a line, whatever stands before it."""
_GOOGLE = re.compile(r"^\[?[EF]\d{3,4} \d\d:\d\d:\d\d")
"""glog's own form, also absl's and torch's."""
_FIELD = re.compile(r"^[^\n]{0,80}?\b(?:level|severity|lvl)[\"']?[=:]\s?[\"']?(?:error|fatal|critical)\b")
"""The level in a line of logfmt or JSON."""
_WITHIN = re.compile(r"(?<![\w.'\"])(?P<name>[A-Za-z_][\w.]{0,80}(?:Error|Exception|Expired)): ")
_OWN_EXCEPTION = 5
_RETURN_WEIGHT = 6
"""A return code says less than a code of its own beside it."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One line and what it proves. `offset` is its place in the log; `peer` the rank that it names as the one waited for.

    `weak`: any program may write this; it says that something failed, not what. `earlier`: the process went on after it.
    `time` in unix seconds, 0 where it is not known. `file`: `name:line` of another log than that of the process.
    """

    rule: Rule
    line: str
    offset: int
    weight: int
    code: str = ""
    peer: int | None = None
    raised: bool = False
    weak: bool = False
    earlier: bool = False
    time: float = 0.0
    file: str = ""

    @property
    def role(self) -> str:
        return self.rule.role


_of_form: dict[tuple[tuple[str, ...], bool, bool], Evidence | None] = {}


def evidence_of(log: str) -> list[Evidence]:
    """All evidence in a log, in its order, at most `MOST` pieces. Takes time that grows with the log only."""
    lines = worth_a_look(log)
    judged = [
        (line, each) for line in lines if (each := _judge(line.text, line.raised, line.block)) is not None
    ]
    progress = last_progress(log, lines, judged[0][0].offset) if judged else -1
    evidence = [
        replace(each, offset=line.offset, earlier=line.offset < progress)
        if line.offset or line.offset < progress
        else each
        for line, each in judged
    ]
    return _thinned(evidence)


def states_error(text: str) -> bool:
    """Whether a line says of itself that it is an error, by its level, its code, or the exception it names."""
    return bool(
        _GLOG.match(text)
        or _PLAIN.match(text)
        or _LEVEL.match(text)
        or _FIELD.match(text)
        or (_GOOGLE.match(text) and _word().search(text))
        or any(_standing_codes(text))
        or exception_name(text) in table().by_exception
    )


def may_state_error(log: str) -> bool:
    """Whether a log can hold a line that states an error, or a traceback. One pass; a yes may be wrong, a no never is."""
    return _any_error().search(log) is not None


def place_of_error(log: str, begin: int = 0) -> int | None:
    """Where the first word at or behind `begin` stands because of which a line may state an error; None without one."""
    match = _any_error().search(log, begin)
    return match.start() if match else None


@cache
def _word() -> re.Pattern[str]:
    return re.compile(any_of(ERROR_WORDS))


@cache
def _any_error() -> re.Pattern[str]:
    names = (name for name in table().by_exception if not any(word in name for word in ERROR_WORDS))
    words = (*ERROR_WORDS, TRACEBACK, "Exit", "fatal", *sorted(names))
    escape = "\x1b"  # may stand within a word
    # a line that is cut may end within what is no code
    return re.compile(f"{any_of((*words, escape))}|{_ANY_CODE.pattern}")


def _judge(text: str, raised: bool, block: bool) -> Evidence | None:
    """The strongest proof that a line holds, as if it were the first of its log. Of ranks that fail alike only one is judged."""
    form = form_of(text)
    if form is None:
        return _judge_anew(text, raised, block)
    try:
        found = _of_form[form, raised, block]
    except KeyError:
        found = _judge_anew(text, raised, block)
        if len(_of_form) >= MOST:
            _of_form.clear()
        _of_form[form, raised, block] = found
    if found is None or found.line == (line := text.strip()):
        return found
    return replace(found, line=line, peer=_peer(found.rule, text))


@lru_cache(maxsize=MOST)
def _judge_anew(text: str, raised: bool, block: bool) -> Evidence | None:
    line, rules = Line(0, text, block, raised), table()
    name = exception_name(text)
    exception = name if line.raised else ""
    is_error = line.raised or line.block or states_error(text)
    candidates = [
        *_codes(text, line, rules),
        *_returns(text, line, rules),
        *_phrases(text, line, rules, is_error),
    ]
    if exception:
        candidates.append(_exception(exception, line, rules))
    elif is_error and not line.block:
        candidates.append(_complaint(line, rules))
    if any(each.role == "generic" for each in candidates):  # it names no cause, whatever exception carries it
        candidates = [each for each in candidates if not each.weak]
    best = max(candidates, key=lambda each: each.weight, default=None)
    if best is None:
        return None
    code = best.code or next((each.code for each in candidates if each.rule is best.rule and each.code), "")
    return replace(best, code=code, raised=line.raised, peer=_peer(best.rule, text))


def _codes(text: str, line: Line, rules: Table) -> list[Evidence]:
    codes = []
    for match in islice(_standing_codes(text), 20):
        rule = rules.of_code(match["code"])
        if rule is not None:
            codes.append(Evidence(rule, text.strip(), line.offset, rule.weight, match["code"]))
    return codes


def _standing_codes(text: str) -> Iterator[re.Match[str]]:
    """The codes that stand by themselves. To look at every code is ten times as fast as to look at every character."""
    return filter(None, (_CODE.match(text, code.start()) for code in _ANY_CODE.finditer(text)))


def _returns(text: str, line: Line, rules: Table) -> list[Evidence]:
    returns: list[Evidence] = []
    if not _NUMBER.search(text):
        return returns
    for match in _RETURN.finditer(text[:PHRASE_LIMIT]):
        rule = rules.by_return.get(int(match["number"]))
        if rule is not None:
            weight = min(rule.weight, _RETURN_WEIGHT)
            returns.append(Evidence(rule, text.strip(), line.offset, weight, match["number"]))
    return returns


def _phrases(text: str, line: Line, rules: Table, is_error: bool) -> list[Evidence]:
    part = text[:PHRASE_LIMIT]
    return [
        Evidence(rule, text.strip(), line.offset, min(rule.weight, 7))
        for rule in rules.phrases_in(part)
        if is_error or not rule.only_errors
    ]


def _exception(name: str, line: Line, rules: Table) -> Evidence:
    """An exception that the table does not know is the program's own, which says more than a RuntimeError."""
    rule = rules.of_exception(name)
    own = rule.id == "unknown" and name.rpartition(".")[2] not in rule.exceptions
    weight = _OWN_EXCEPTION if own else rule.weight
    return Evidence(rule, line.text.strip(), line.offset, weight, weak=rule.id == "unknown" and not own)


def _complaint(line: Line, rules: Table) -> Evidence:
    """A line that says it is an error, and no more than that; an exception without its traceback among them."""
    text = line.text.strip()
    glog = _GLOG.match(text)
    within = _WITHIN.search(text[:PHRASE_LIMIT])
    if name := exception_name(text) or (within["name"] if within else ""):
        rule = rules.of_exception(name)
        return Evidence(rule, text, line.offset, min(rule.weight, 4), weak=rule.id == "unknown")
    weight = 2 if glog and glog["level"] != "ERROR" else 1
    return Evidence(rules["unknown"], text, line.offset, weight, weak=True)


def _peer(rule: Rule, text: str) -> int | None:
    match = rule.peer.search(text[:PHRASE_LIMIT]) if rule.peer else None
    return int(next(group for group in match.groups() if group)) if match else None


def _thinned(pieces: list[Evidence]) -> list[Evidence]:
    """The first and the last of each kind, then as many others as fit."""
    if len(pieces) <= MOST:
        return pieces
    first: dict[tuple[str, str, bool], int] = {}
    last: dict[tuple[str, str, bool], int] = {}
    for index, each in enumerate(pieces):
        kind = (each.rule.id, each.code, each.earlier)
        first.setdefault(kind, index)
        last[kind] = index
    kept = {*first.values(), *last.values()}
    kept |= set(range(len(pieces) - 1, -1, -1)[: max(0, MOST - len(kept))])
    return [pieces[index] for index in sorted(kept)][-MOST:]
