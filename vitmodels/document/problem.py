"""A problem in a text that a user wrote: where it is, what is wrong, what to write instead.

    jobs/x.yaml:14:13: model.set.epochs: expected a whole number ≥ 1, found 'ten'
       14 |     epochs: ten
          |             ^
      hint: write the number in digits

A Problem is about the text of a job file, a recipe or an override, and always an error. What a rule thinks of
a plan, a rank table or a machine is a `launcher.findings.Finding`: it has a rule's id and a severity, and no text to
point at.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace

from vitmodels.secrets import mask

_WINDOW = 100  # characters of a source line that are shown
_TAB = "    "


@dataclass(frozen=True, slots=True)
class Place:
    """A point in a text that a user can open. `line` and `column` count from 1; both 0 when only the file is known.

    `file` is a path, or for a value that was not in a file the words it came in (`--set epochs=3`).
    """

    file: str
    line: int = 0
    column: int = 0
    source_line: str = ""
    in_file: bool = True

    def __str__(self) -> str:
        if not self.in_file or not self.line:
            return self.file
        return f"{self.file}:{self.line}:{self.column}"

    @property
    def short(self) -> str:
        """The place without its column: what an origin shows."""
        return f"{self.file}:{self.line}" if self.in_file and self.line else self.file

    def masked(self) -> Place:
        """The same place without credentials in its texts."""
        return replace(self, file=mask(self.file), source_line=mask(self.source_line))


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. Credentials in its texts are starred out.

    `path` is the dotted name of the value, empty when the text itself can't be read. `related` is a second place
    to look at, and `related_text` says what stands there.
    """

    place: Place
    message: str
    path: str = ""
    hint: str = ""
    related: Place | None = None
    related_text: str = "see also"

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", self.place.masked())
        object.__setattr__(self, "message", mask(self.message))
        object.__setattr__(self, "hint", mask(self.hint))
        object.__setattr__(self, "related", self.related and self.related.masked())

    @property
    def headline(self) -> str:
        """The one line that says it all: place, path, message."""
        return f"{self.place}: {self.path}: {self.message}" if self.path else f"{self.place}: {self.message}"

    def __str__(self) -> str:
        lines = [self.headline, *_excerpt(self.place)]
        if self.related is not None:
            lines.append(f"  {self.related_text} {self.related}")
            lines.extend(_excerpt(self.related))
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """Plain values for tools; absent parts are null."""
        related = self.related
        return {
            "file": self.place.file,
            "line": self.place.line or None,
            "column": self.place.column or None,
            "path": self.path or None,
            "message": self.message,
            "hint": self.hint or None,
            "source_line": self.place.source_line or None,
            "related": None
            if related is None
            else {
                "file": related.file,
                "line": related.line or None,
                "column": related.column or None,
                "text": self.related_text,
            },
        }


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Each problem once: those of files first, by name and position, then those of the command line and the environment."""
    return tuple(sorted(set(problems), key=_order))


def listing_of(problems: tuple[Problem, ...]) -> str:
    """All problems as the text that a user reads."""
    text = "\n".join(str(problem) for problem in problems)
    return text if len(problems) == 1 else f"{text}\n{len(problems)} problems"


def without_echoes(problems: Iterable[Problem], unread: Iterable[Problem]) -> list[Problem]:
    """Leave out problems of values whose text could not be read: that is a problem in `unread` already."""
    places = {(p.place.file, p.place.line, p.place.column) for p in unread}
    return [p for p in problems if (p.place.file, p.place.line, p.place.column) not in places]


def _order(problem: Problem) -> tuple[bool, str, int, int, str, str]:
    place = problem.place
    return (not place.in_file, place.file, place.line, place.column, problem.path, problem.message)


def _excerpt(place: Place) -> list[str]:
    """The source line with a caret under the column; nothing when there is no line to show."""
    if not place.source_line.strip() or not place.column:
        return []
    number = str(place.line) if place.in_file else ""
    before, rest = _window(place.source_line, place.column - 1)
    gutter = f"{number:>5} | "
    return [f"{gutter}{before}{rest}".rstrip(), f"{'':>5} | {' ' * _width(before)}^"]


def _window(line: str, index: int) -> tuple[str, str]:
    """The part of a line around `index`, cut in two there, tabs and unprintable characters made visible."""
    start = 0 if index <= _WINDOW * 3 // 4 else index - _WINDOW // 2
    before, rest = line[start:index], line[index : start + _WINDOW]
    head = "…" if start else ""
    tail = "…" if len(line) > start + _WINDOW else ""
    return head + _visible(before), _visible(rest) + tail


def _visible(text: str) -> str:
    shown = (_TAB if c == "\t" else c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return "".join(shown)


def _width(text: str) -> int:
    """Columns a terminal uses for the text: East Asian wide characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )
