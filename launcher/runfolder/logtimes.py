"""When the lines of a log were written, for programs that do not print the time.

Beside `rank-0.log` lies `rank-0.times`, one line `OFFSET SECONDS` per burst of output: the bytes of the log from OFFSET
on came at that unix time, or a moment later. A log is complete without it.
"""

from __future__ import annotations

import bisect
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

FINE_S, COARSE_S = 0.1, 2.0
"""The least time between two marks: between the first FINE_MARKS of a log, and between the rest."""
FINE_MARKS = 2000


def times_name(log: str) -> str:
    """The name of the times of a log: `rank-0.old.log` has `rank-0.old.times`."""
    return log.removesuffix(".log") + ".times"


class TimesFile:
    """Appends marks for one log, and is renamed with it. Never raises: on a full disk, marks are lost."""

    def __init__(self, log: Path) -> None:
        self._path = log.with_name(times_name(log.name))
        self._marks = 0
        self._last = float("-inf")

    def mark(self, offset: int) -> None:
        """Bytes are about to be written at `offset`."""
        now = time.monotonic()
        if now - self._last < (FINE_S if self._marks < FINE_MARKS else COARSE_S):
            return
        self._last = now
        with suppress(OSError), self._path.open("ab") as file:
            file.write(b"%d %.3f\n" % (offset, time.time()))
            self._marks += 1

    def rename(self, log: Path) -> None:
        """The log was renamed to this name; the next mark belongs to a new file."""
        with suppress(OSError):
            self._path.replace(log.with_name(times_name(log.name)))
        self._marks, self._last = 0, float("-inf")


@dataclass
class Times:
    """The marks of one log, in order."""

    offsets: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @classmethod
    def parse(cls, data: bytes) -> Times:
        """Lines that can't be read, such as half a line at the end, are left out."""
        times = cls()
        for line in data.splitlines():
            offset, _, seconds = line.partition(b" ")
            with suppress(ValueError):
                mark = (int(offset), float(seconds))
                if not times.offsets or mark[0] >= times.offsets[-1]:
                    times.offsets.append(mark[0])
                    times.seconds.append(mark[1])
        return times

    def at(self, offset: int) -> float | None:
        """Unix seconds of the byte at `offset`; None when that is not known."""
        index = bisect.bisect_right(self.offsets, offset) - 1
        return self.seconds[index] if index >= 0 else None
