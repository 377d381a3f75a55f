"""Pages of what one container printed, as the service gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launcher.backends.modelarts.wire import as_number

FULL = 500
"""The most lines of a page."""


@dataclass(frozen=True, slots=True)
class LogPage:
    """Lines in the order in which they were printed, and the ids of the first and the last of them.

    `cleared`: the service has no lines and will have none.
    """

    start: str = ""
    end: str = ""
    lines: tuple[str, ...] = ()
    cleared: bool = False

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> LogPage:
        """From the service's answer; ids that fall show that the newest line came first."""
        text = str(answer.get("content") or "").removesuffix("\n")
        start, end = str(answer.get("start_line") or ""), str(answer.get("end_line") or "")
        count = as_number(answer.get("lines"))
        lines = tuple(text.split("\n")) if text or count else ()
        if is_before(end, start):
            return cls(end, start, lines[::-1])
        return cls(start, end, lines)

    def after(self, base: str) -> tuple[str, ...]:
        """The lines without that of id `base`, which some versions of the service repeat."""
        return self.lines[1:] if base and self.start == base else self.lines


@dataclass(frozen=True, slots=True)
class LogPreview:
    """The newest part of a log, and the bytes that the whole log has."""

    content: bytes
    full_bytes: int


def is_before(one: str, other: str) -> bool:
    """Whether a line was printed before another: ids are numbers that grow. False where one of them is none."""
    return one.isdecimal() and other.isdecimal() and int(one) < int(other)
