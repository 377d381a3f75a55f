"""The times that lines of logs begin with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

_STAMP = re.compile(
    r"(?P<day>20\d\d-\d\d-\d\d)[T -](?P<clock>\d\d:\d\d:\d\d)(?:[.,](?P<part>\d{1,6}))?(?:\.\d+)?(?P<utc>Z)?"
)
_STAMP_WITHIN = 80
"""A time further to the right belongs to the message."""


@lru_cache(maxsize=4096)  # the lines of all ranks share their seconds
def _second(day: str, clock: str, zone: str) -> float | None:
    """None for a day or time that does not exist."""
    try:
        return datetime.fromisoformat(f"{day} {clock}{zone}").timestamp()
    except ValueError:
        return None


def stamp_of(text: str) -> float | None:
    """The time a line begins with, as logging, glog of MindSpore and CANN, and ISO 8601 write it; local unless it ends in Z."""
    match = _STAMP.search(text, 0, _STAMP_WITHIN)
    if match is None:
        return None
    second = _second(match["day"], match["clock"], "+00:00" if match["utc"] else "")
    if second is None:
        return None
    return second + (float(f"0.{match['part']}") if match["part"] else 0.0)


_HEAD = re.compile(r"20\d\d-\d\d-\d\d[T -]\d\d:\d\d:\d\d[.,]\d{3}[^\d.Z]", re.DOTALL)
"""The first characters of a line that alone decide on its time: nothing behind them belongs to it."""
_HEAD_LENGTH = 24
_MOST_HEADS = 1 << 16
_heads: dict[str, float | None] = {}


def stamps_of(texts: Sequence[str]) -> list[float | None]:
    """`stamp_of` of each line. The lines of all ranks share most of their times, so each of these is read once."""
    known = _heads.get
    stamps = [known(text[:_HEAD_LENGTH]) for text in texts]
    if None in stamps:
        for index, stamp in enumerate(stamps):
            if stamp is None:
                stamps[index] = _learn(texts[index])
    return stamps


def _learn(text: str) -> float | None:
    stamp = stamp_of(text)
    if stamp is not None and _HEAD.match(text):
        if len(_heads) >= _MOST_HEADS:
            _heads.clear()
        _heads[text[:_HEAD_LENGTH]] = stamp
    return stamp
