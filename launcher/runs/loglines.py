"""Lines of logs as values: which process wrote them, when, and whether they state an error."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import accumulate
from operator import itemgetter
from typing import Any, NamedTuple

from launcher.clock import iso_time


class LogLine(NamedTuple):
    """One line. `time` in unix seconds: its own stamp or that of the line before it; 0 when neither has one."""

    time: float
    attempt: int
    node: int
    process: str
    text: str

    @property
    def rank(self) -> int | None:
        """None for the node program and for MindSpore's scheduler."""
        return rank_of(self.process)


def rank_of(process: str) -> int | None:
    """The rank of a log's process; None for one that is none."""
    return int(process[5:]) if process.startswith("rank-") else None


def log_name(process: str) -> str:
    """The name of a process in the names of logs: `rank-3` of `rank 3`."""
    return process.replace(" ", "-")


def in_time_order(files: Iterable[Sequence[LogLine]]) -> list[LogLine]:
    """Lines of several files in one order. Lines of one file keep theirs, even where its clock goes back."""
    keys: list[tuple[int, float]] = []
    all_lines: list[LogLine] = []
    for lines in files:
        keys += accumulate(
            map(itemgetter(1, 0), lines), max
        )  # the latest attempt and time that the file had reached
        all_lines += lines
    return in_key_order(keys, all_lines)


def in_key_order(keys: Sequence[Any], lines: Sequence[LogLine]) -> list[LogLine]:
    """Lines in the order of their keys; those with equal keys keep theirs."""
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return [lines[index] for index in order]


def parse_since(text: str, now: float) -> float:
    """Unix seconds of `10min` (ago), `14:30` (today) or `2026-11-21 14:30`. Raises ValueError with the accepted forms."""
    from launcher.units import parse_duration

    clock = re.fullmatch(r"\d{1,2}:\d\d(:\d\d)?", text.strip())
    if clock:
        today = time.strftime("%Y-%m-%d", time.localtime(now))
        hour, _, rest = text.strip().partition(":")
        return datetime.fromisoformat(f"{today} {hour:0>2}:{rest}").timestamp()
    try:
        return iso_time(text.strip()).timestamp()
    except ValueError:
        pass
    try:
        return now - parse_duration(text)
    except ValueError:
        raise ValueError(
            f"expected how long ago (10min, 2h, 3d) or a time (14:30, 2026-11-21 14:30), found '{text}'"
        ) from None


def error_texts(texts: Sequence[str]) -> list[bool]:
    """For each line of one log whether it belongs to an error: a line that states one, or a traceback with what ends it."""
    from launcher.diagnosis.evidence import place_of_error

    flags = [False] * len(texts)
    log = "\n".join(texts)
    for index in error_lines(texts, log, place_of_error(log)):
        flags[index] = True
    return flags


def error_lines(texts: Sequence[str], log: str, place: int | None) -> Iterator[int]:
    """The numbers of these lines, in their order. `log` is the same with line feeds, `place` what `place_of_error` says of it."""
    from launcher.diagnosis.evidence import may_state_error, place_of_error, states_error
    from launcher.diagnosis.tracebacks import TRACEBACK

    end = start = 0  # the line after the last one that was looked at, and where it begins
    while place is not None:
        index = end + log.count("\n", start, place)
        start = max(start, log.rfind("\n", start, place) + 1)
        text, begin, end = _clean(texts[index]), index, index + 1
        if TRACEBACK in text:
            begin, end = _traceback(texts, index)
            yield from range(begin, end)
        elif may_state_error(text) and states_error(text):
            yield index
        start += sum(len(text) + 1 for text in texts[index:end])
        place = place_of_error(log, start) if end < len(texts) else None


def first_statement(texts: Sequence[str], log: str) -> str | None:
    """The first of these lines that states an error, or ends a traceback. Looks at nothing behind it. `log` as for `error_lines`."""
    from launcher.diagnosis.tracebacks import TRACEBACK, margin_of, without_margin

    margin = ""
    for number in error_lines(texts, log, 0) if texts else ():
        text = texts[number]
        if TRACEBACK in text:
            margin = margin_of(text)
        elif not (without_margin(text, margin) or " ").startswith(" "):
            return text
    return None


def _traceback(texts: Sequence[str], begin: int) -> tuple[int, int]:
    """From the last heading of tracebacks that follow on each other to behind the line that ends it. Empty where none does."""
    from launcher.diagnosis.tracebacks import TRACEBACK, is_frame, margin_of, without_margin

    margin = margin_of(_short(texts[begin]))
    for index in range(begin + 1, len(texts)):
        if not margin and is_frame(texts[index]):
            continue
        text = without_margin(_short(texts[index]), margin)
        if text is None:
            continue
        if TRACEBACK in text:
            begin, margin = index, margin_of(_short(texts[index]))
        elif text and not text[0].isspace():
            return begin, index + 1
    return len(texts), len(texts)


def _clean(text: str) -> str:
    from launcher.diagnosis.cut import clean

    return clean(_short(text))


def _short(text: str) -> str:
    from launcher.diagnosis.cut import LINE_LIMIT

    return text[:LINE_LIMIT]
