"""A text with its name: where a line and column of it lie, and the form in which PyYAML may scan it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Protocol

import yaml

from vitmodels.document.problem import Place, Problem

MAX_BYTES = 256 * 1024

_LINE_BREAK = re.compile("\r\n|[\n\r]")
_UNPRINTABLE = yaml.reader.Reader.NON_PRINTABLE
_OLD_BREAKS = "\x85\u2028\u2029"  # line breaks in YAML 1.1, ordinary characters in YAML 1.2 and in JSON


class Mark(Protocol):
    """PyYAML's position, all counted from 0. Its column leaves byte order marks out, so it is not used."""

    index: int
    line: int


@dataclass(frozen=True)
class Source:
    """`prefix` is what stands before the text on its first line (`--set epochs=`): places count it in."""

    text: str
    filename: str
    in_file: bool = True
    prefix: str = ""
    lines: list[str] = field(init=False)
    starts: list[int] = field(init=False)
    stand_ins: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lines", _LINE_BREAK.split(self.text))
        breaks = _LINE_BREAK.finditer(self.text)
        object.__setattr__(self, "starts", [0, *(match.end() for match in breaks)])
        object.__setattr__(self, "stand_ins", _stand_ins(self.text))

    def place(self, line: int, column: int) -> Place:
        """The place of PyYAML's numbers, which count from 0. The end of the file is the end of its last line."""
        last = len(self.lines) - 1
        while last and not self.lines[last].strip():
            last -= 1
        if line > last:
            line, column = last, len(self.lines[last].rstrip())
        source_line = self.lines[line]
        if line == 0:
            column, source_line = column + len(self.prefix), self.prefix + source_line
        return Place(self.filename, line + 1, column + 1, source_line, self.in_file)

    def place_of(self, mark: Mark | None) -> Place:
        assert mark is not None  # only tokens made by hand have none
        return self.place(mark.line, mark.index - self.starts[mark.line])

    def unprintable(self) -> Problem | None:
        """The first character that no text may hold, as a problem."""
        match = _UNPRINTABLE.search(self.text)
        if match is None:
            return None
        before = _LINE_BREAK.split(self.text[: match.start()])
        place = self.place(len(before) - 1, len(before[-1]))
        return Problem(
            place, f"the text holds the unprintable character U+{ord(match[0]):04X}", hint="delete it"
        )

    def scannable(self) -> str:
        """The text in which PyYAML finds the line breaks of YAML 1.2 and no others."""
        text = self.text
        for character, stand_in in self.stand_ins.items():
            text = text.replace(character, stand_in)
        return text

    def original(self, scanned: str) -> str:
        """A piece of the scanned text as it was written."""
        for character, stand_in in self.stand_ins.items():
            scanned = scanned.replace(stand_in, character)
        return scanned


def _stand_ins(text: str) -> dict[str, str]:
    """For each of the old line breaks in the text a private character that it neither holds nor names in an escape."""
    old = [character for character in _OLD_BREAKS if character in text]
    if not old:
        return {}
    lower = text.lower()
    free = (
        chr(code) for code in range(0xF0000, 0xFFFFE) if chr(code) not in text and f"{code:08x}" not in lower
    )
    return dict(zip(old, free, strict=False))


def decode(data: bytes, filename: str, *, in_file: bool) -> str | Problem:
    """The text of a file, without its byte order mark, or why it can't be read."""
    if len(data) > MAX_BYTES:
        return too_large(len(data), filename, in_file=in_file)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _not_utf8(data, error, Source("", filename, in_file))


def too_large(size: int, filename: str, *, in_file: bool) -> Problem:
    message = f"too large: {size:,} bytes, and {MAX_BYTES:,} is the most that is read"
    hint = "a job file is usually under 100 lines; is this the right file?"
    return Problem(Place(filename, in_file=in_file), message, hint=hint)


def _not_utf8(data: bytes, error: UnicodeDecodeError, source: Source) -> Problem:
    before = _LINE_BREAK.split(data[: error.start].decode("utf-8", "replace"))
    source_line = before[-1] + "\N{REPLACEMENT CHARACTER}"
    place = Place(source.filename, len(before), len(before[-1]) + 1, source_line, source.in_file)
    if b"\0" in data:
        hint = "this is not a YAML text, or it was saved as UTF-16; save it as UTF-8"
    else:
        hint = "save the file as UTF-8"
    return Problem(place, f"the file is not UTF-8: byte 0x{data[error.start]:02x}", hint=hint)
