"""Why pods do not begin, or have ended: the cluster's words as sentences for people, by the rows of waits.yaml."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import TypeAdapter

NEVER = "will never start as it is"
LONGEST_QUOTE = 240


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table. `rule`: kind of an end, as in advice.yaml."""

    word: tuple[str, ...]
    means: str
    do: str
    match: str = ""
    never: bool = False
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """What the cluster says of a job or one of its pods: a word, a message, and how often it has said so."""

    word: str
    message: str = ""
    pod: str = ""


@dataclass(frozen=True, slots=True)
class Why:
    """A notice with the row that explains it."""

    notice: Notice
    row: Row

    def words(self) -> str:
        """For people: what it means, the cluster's own words, what to do."""
        quote = " ".join((self.notice.message or self.notice.word).split())[:LONGEST_QUOTE]
        of = f"{self.notice.pod}: " if self.notice.pod else ""
        text = f"{of}{self.row.means} ('{quote}'): {self.row.do}"
        return f"{NEVER}: {text}" if self.row.never else text


@functools.cache
def rows() -> tuple[Row, ...]:
    text = Path(__file__).with_name("waits.yaml").read_text()
    return TypeAdapter(tuple[Row, ...]).validate_python(yaml.safe_load(text))


def why(notices: Iterable[Notice]) -> Why | None:
    """The first row that one of the notices fits; of rows of one notice the first, notices in their order."""
    for notice in notices:
        for row in rows():
            if notice.word in row.word and re.search(row.match, notice.message):
                return Why(notice, row)
    return None
