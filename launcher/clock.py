"""Moments: as text, and such that hold when somebody sets the clock of the machine."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Begin:
    """When something began in this process, by both clocks."""

    wall: float = field(default_factory=time.time)
    monotonic: float = field(default_factory=time.monotonic)

    def oldest_file(self) -> float:
        """Unix seconds: a file that was written since has no earlier time, also when the clock was set back or forth meanwhile."""
        return min(self.wall, time.time() - (time.monotonic() - self.monotonic))


def iso_time(text: str) -> datetime:
    """A time in ISO 8601, `2026-11-21T14:30:05.5Z` too, which Python 3.10 does not read. Raises ValueError."""
    if sys.version_info >= (3, 11) and text.endswith("Z"):  # as in listings, a thousand a page
        return datetime.fromisoformat(text)
    body = f"{text[:-1]}+00:00" if text.endswith(("Z", "z")) else text
    return datetime.fromisoformat(re.sub(r"\.(\d+)", lambda part: f".{part[1][:6]:0<6}", body, count=1))
