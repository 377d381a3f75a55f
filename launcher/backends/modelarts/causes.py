"""Why a job whose program says nothing has ended or does not begin: a row of events.yaml, found in the platform's events."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from launcher.diagnosis.rules import rows_in

LONGEST_QUOTE = 200


@dataclass(frozen=True, slots=True)
class EventRule:
    """A row of the table."""

    rule: str
    match: tuple[str, ...]
    means: str
    do: str

    def fits(self, message: str) -> bool:
        return any(re.search(pattern, message, re.IGNORECASE) for pattern in self.match)


@dataclass(frozen=True, slots=True)
class PlatformCause:
    """What one event of the platform says; `event` is its own words."""

    rule: str
    means: str
    do: str
    event: str

    def words(self) -> str:
        """For people: the meaning, the platform's own words, what to do."""
        return f"{self.means} ('{self.event[:LONGEST_QUOTE]}'): {self.do}"


@functools.cache
def event_rules() -> tuple[EventRule, ...]:
    rows = rows_in(Path(__file__).with_name("events.yaml"))
    return TypeAdapter(tuple[EventRule, ...]).validate_python(rows)


def cause_in(events: Iterable[Mapping[str, Any]]) -> PlatformCause | None:
    """The first row of the table that a warning or an error among the events fits; of several such events the newest."""
    messages = [
        str(event.get("message") or "") for event in events if event.get("level") in ("Warning", "Error")
    ]
    for row in event_rules():
        for message in reversed(messages):
            if row.fits(message):
                return PlatformCause(row.rule, row.means, row.do, " ".join(message.split()))
    return None
