"""The times that lines of logs begin with."""

from __future__ import annotations

import re
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
