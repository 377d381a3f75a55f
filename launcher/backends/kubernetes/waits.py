"""Why pods do not begin, or have ended: the cluster's words as sentences for people, by the rows of waits.yaml."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from launcher.diagnosis.rules import rows_in

NEVER = "will never start as it is"
LONGEST_QUOTE = 240
_ORDINARY = (
    "ContainerCreating",
    "PodInitializing",
    "ContainersNotReady",
    "ContainersNotInitialized",
    "PodCompleted",
    "Completed",
    "Error",
)
"""Words of a pod that has no trouble, or whose own end says more."""
_OF_NODES = re.compile(r"(?:^|[:,] )\d+ \S")
"""A reason of some of the nodes in a scheduler's message, as in `0/5 nodes are available: 2 Insufficient cpu, 3 …`."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table; its file says what each means. `rule`: kind of an end, as in advice.yaml."""

    word: tuple[str, ...]
    means: str
    do: str
    match: str = ""
    never: bool = False
    place: bool = False
    vague: bool = False
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
        return f"{NEVER}: {text}" if self.never else text

    @property
    def never(self) -> bool:
        """Not where other nodes have other reasons, which may pass."""
        reasons = _OF_NODES.findall(self.notice.message.partition("preemption:")[0])
        return self.row.never and not (self.row.place and len(reasons) > 1)


@functools.cache
def rows() -> tuple[Row, ...]:
    table = rows_in(Path(__file__).with_name("waits.yaml"))
    return TypeAdapter(tuple[Row, ...]).validate_python(table)


@functools.cache
def _place_words() -> frozenset[str]:
    return frozenset(word for row in rows() if row.place for word in row.word)


def without_place(notices: Iterable[Notice]) -> list[Notice]:
    """Those that hold also for a pod that has a node."""
    return [notice for notice in notices if notice.word not in _place_words()]


def tells(word: str) -> bool:
    """Whether a row explains the word: an event with it counts even if the cluster does not take it for a warning."""
    return any(word in row.word for row in rows())


def why(notices: Sequence[Notice]) -> Why | None:
    """The first notice that a row explains; vague ones after all others, and then one that no row knows."""
    found = [Why(notice, row) for notice in notices if (row := _row_of(notice))]
    unknown = [
        Why(notice, _unknown(notice))
        for notice in notices
        if not _row_of(notice) and notice.word not in _ORDINARY
    ]
    ordered = sorted(found, key=lambda each: each.row.vague)
    return next(iter([*ordered, *unknown]), None)


def _row_of(notice: Notice) -> Row | None:
    fitting = (row for row in rows() if notice.word in row.word and re.search(row.match, notice.message))
    return next(fitting, None)


def _unknown(notice: Notice) -> Row:
    return Row((notice.word,), f"the cluster says {notice.word}", "`kubectl describe pod` tells more")
