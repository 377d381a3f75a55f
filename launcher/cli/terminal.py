"""The streams that a command writes to: foreign text can't drive the terminal, and no character makes a command fail.

All output passes here. Control characters are shown escaped; what the encoding of the stream lacks is replaced. The colours and
cursor movements of launcher itself are marked with `control`, which foreign text can't imitate.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from launcher.printable import printable_lines

_ERRORS = "launcher.replace"
_MARK = f"\ufdd0{os.urandom(8).hex()}\ufdd1"
"""Begins and ends a control sequence of launcher's own in a text that is on its way to a stream."""

ASCII = {
    "…": "...",
    "│": "|",
    "─": "-",
    "━": "-",
    "╸": "-",
    "╺": "-",
    "┌": "+",
    "┐": "+",
    "└": "+",
    "┘": "+",
    "├": "+",
    "┤": "+",
    "┬": "+",
    "┴": "+",
    "┼": "+",
    "→": "->",
    "←": "<-",
    "≥": ">=",
    "≤": "<=",
    "×": "x",
    "·": "-",
    "•": "*",
    "–": "-",
    "—": "-",
    "✓": "ok",
    "✗": "x",
    "≈": "~",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
}
"""What stands for frames and symbols where the encoding lacks them; other characters become a question mark."""


def control(sequence: str) -> str:
    """A control sequence of launcher's own, such as `\\x1b[K`, to be written within a text."""
    return f"{_MARK}{sequence}{_MARK}"


def shown(text: str) -> str:
    """A text as a terminal gets it: foreign control characters escaped, launcher's own sequences in force."""
    parts = text.split(_MARK)  # odd ones are ours
    return "".join(part if index % 2 else printable_lines(part) for index, part in enumerate(parts))


class SafeStream(io.TextIOBase):
    """A text stream before another one. `drawing` is that other one, for a writer that escapes by itself."""

    def __init__(self, drawing: TextIO) -> None:
        self.drawing = drawing

    def write(self, text: str) -> int:
        self.drawing.write(shown(text))
        return len(text)

    def flush(self) -> None:
        self.drawing.flush()

    def isatty(self) -> bool:
        return self.drawing.isatty()

    def fileno(self) -> int:
        return self.drawing.fileno()

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing: the other stream belongs to somebody else."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.drawing.encoding


def drawing(stream: Any) -> TextIO:
    """The stream without escaping: for `logs --raw`, and for writers that escape by themselves."""
    return cast(TextIO, stream.drawing if isinstance(stream, SafeStream) else stream)


@contextmanager
def safe_streams() -> Iterator[None]:
    """Put a `SafeStream` before stdout and stderr for as long as the context lasts."""
    before = sys.stdout, sys.stderr
    errors = [_set_errors(stream, _ERRORS) for stream in before]
    sys.stdout, sys.stderr = (stream and cast(TextIO, SafeStream(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream, former in zip(before, errors, strict=True):
            _set_errors(stream, former)


def _set_errors(stream: TextIO | None, errors: str | None) -> str | None:
    """Set what happens to characters that the stream can't encode; returns what did before."""
    if errors is None or not isinstance(stream, io.TextIOWrapper) or stream.closed:
        return None
    former = stream.errors
    stream.reconfigure(errors=errors)
    return former


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(ASCII.get(char, "?") for char in lacking), error.end


codecs.register_error(_ERRORS, _replace)
