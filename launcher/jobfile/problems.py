"""A problem in a job file: where it is, what is wrong, what to write instead.

    jobs/x.yaml:14:7: model.set.epochs: expected a whole number ≥ 1, found the text 'ten'
       14 |     epochs: ten
          |             ^
      hint: write the number in digits

All problems of a file are carried by one `JobFileError`, in the order of their places.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace

from launcher.errors import UsageError
from launcher.jobfile import secrets as secretnames

_USER_INFO = re.compile(r"(?<=://)[^/@\s'\"]+(?=@)")
_SECRET_VALUE = re.compile(
    rf"{secretnames.PATTERN}\w*['\"]?\s*[:=]\s*(\"[^\"]*\"?|'[^']*'?|[^\s,}}'\"]+)",
    re.IGNORECASE,
)
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


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `path` is the dotted name of the value, empty when the text itself can't be read."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""
    source_line: str = ""
    in_file: bool = True
    related: Place | None = None
    related_text: str = ""

    @classmethod
    def at(
        cls,
        place: Place,
        message: str,
        *,
        path: str = "",
        hint: str = "",
        related: Place | None = None,
        related_text: str = "",
    ) -> Problem:
        """A problem at a place."""
        return cls(
            mask(place.file),
            place.line,
            place.column,
            path,
            mask(message),
            mask(hint),
            mask(place.source_line),
            place.in_file,
            related and replace(related, source_line=mask(related.source_line)),
            related_text,
        )

    @property
    def place(self) -> Place:
        return Place(self.file, self.line, self.column, self.source_line, self.in_file)

    @property
    def headline(self) -> str:
        """The one line that says it all: place, path, message."""
        return f"{self.place}: {self.path}: {self.message}" if self.path else f"{self.place}: {self.message}"

    def __str__(self) -> str:
        lines = [self.headline, *_excerpt(self.place)]
        if self.related is not None:
            lines.append(f"  {self.related_text or 'see also'} {self.related}")
            lines.extend(_excerpt(self.related))
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """Plain values for tools; absent parts are null."""
        related = self.related
        return {
            "file": self.file,
            "line": self.line or None,
            "column": self.column or None,
            "path": self.path or None,
            "message": self.message,
            "hint": self.hint or None,
            "source_line": self.source_line or None,
            "related": None
            if related is None
            else {
                "file": related.file,
                "line": related.line or None,
                "column": related.column or None,
                "text": self.related_text or None,
            },
        }


class JobFileError(UsageError):
    """The job file, or what overrides it, is wrong. `problems` holds every problem that was found, at least one."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems), key=_order))
        first = self.problems[0]
        super().__init__(first.message, where=str(first.place), hint=first.hint)

    def __str__(self) -> str:
        text = "\n".join(str(problem) for problem in self.problems)
        return text if len(self.problems) == 1 else f"{text}\n{len(self.problems)} problems"

    def to_json(self) -> dict[str, object]:
        return {"ok": False, "problems": [problem.to_json() for problem in self.problems]}


def mask(text: str) -> str:
    """The text with credentials starred out, as long as before: user info of URLs, values of secret-looking names."""
    text = _USER_INFO.sub(lambda match: "*" * len(match[0]), text)
    return _SECRET_VALUE.sub(lambda m: m[0][: m.start(1) - m.start()] + "*" * len(m[1]), text)


def _order(problem: Problem) -> tuple[bool, str, int, int, str, str]:
    """Files first, by name and position, then what came from the command line and the environment."""
    return (not problem.in_file, problem.file, problem.line, problem.column, problem.path, problem.message)


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
