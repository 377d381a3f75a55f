"""What the error codes of ModelArts mean to a person, and whose move it is: the table codes.yaml."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from launcher.diagnosis.rules import rows_in


@dataclass(frozen=True, slots=True)
class Meaning:
    """A row of the table. `code` may be a family, with ? and *; `status` narrows a code that stands for several things.

    `passes`: it may pass without anybody's doing.
    """

    code: str
    means: str
    move: Literal["you", "administrator", "platform"]
    do: str
    status: int | None = None
    passes: bool = False

    @property
    def hint(self) -> str:
        """The meaning and the advice, for people."""
        passing = " (this may pass)" if self.passes else ""
        whom = "ask your administrator: " if self.move == "administrator" else ""
        return f"{self.means}{passing}; {whom}{self.do}"


@functools.cache
def code_table() -> tuple[Meaning, ...]:
    """All rows; families come last."""
    rows = rows_in(Path(__file__).with_name("codes.yaml"))
    return TypeAdapter(tuple[Meaning, ...]).validate_python(rows)


def meaning_of(code: str, status: int = 0) -> Meaning | None:
    """The row of a code, else that of its family, else that of the HTTP status; None for what no row is about."""
    exact = [row for row in code_table() if row.code == code and row.status in (None, status)]
    if exact:
        return max(exact, key=lambda row: row.status is not None)
    return _family(code) or _family(str(status))


def _family(text: str) -> Meaning | None:
    return next((row for row in code_table() if fnmatchcase(text, row.code)), None)
