"""Lines of logs as values: which process wrote them, when, and whether they state an error."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple

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
        return int(self.process[5:]) if self.process.startswith("rank-") else None


def log_name(process: str) -> str:
    """The name of a process in the names of logs: `rank-3` of `rank 3`."""
    return process.replace(" ", "-")


def in_time_order(files: Iterable[Sequence[LogLine]]) -> list[LogLine]:
    """Lines of several files in one order. Lines of one file keep theirs, even where its clock goes back."""
    keyed = [pair for lines in files for pair in _keyed(lines)]
    keyed.sort(key=itemgetter(0))
    return [line for _, line in keyed]


def _keyed(lines: Sequence[LogLine]) -> Iterator[tuple[tuple[int, float], LogLine]]:
    """Each line with the latest attempt and time that the file had reached."""
    latest = (0, 0.0)
    for line in lines:
        latest = max(latest, (line.attempt, line.time))
        yield latest, line


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
    from launcher.diagnosis.evidence import may_state_error, states_error
    from launcher.diagnosis.lines import LINE_LIMIT, TRACEBACK, clean

    flags = [False] * len(texts)
    if not may_state_error("\n".join(texts)):
        return flags
    start = None
    for index, raw in enumerate(texts):
        text = clean(raw[:LINE_LIMIT])
        if TRACEBACK in text:
            start = index
        elif start is not None and text and not text[0].isspace():
            flags[start : index + 1] = [True] * (index + 1 - start)
            start = None
        elif start is None and may_state_error(text) and states_error(text):
            flags[index] = True
    return flags
