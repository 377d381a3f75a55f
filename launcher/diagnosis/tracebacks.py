"""Tracebacks in a log: where each ends, also where a starter of ranks or a logger puts a margin before each line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from launcher.diagnosis.cut import ZEROS, clean, cut, line_end, line_start, plain

TRACEBACK = "Traceback (most recent call last):"
_TRACEBACK_LINES = 400
_TIME = re.compile(r"\d:\d\d")


def margin_of(heading: str) -> str:
    """What stands before the heading of a traceback, such as `[1,0]<stderr>:`; empty where that is nothing but blanks."""
    text = plain(heading)
    margin = text[: text.find(TRACEBACK)]
    return margin if margin.strip() else ""


def without_margin(line: str, margin: str) -> str | None:
    """A line of a traceback behind its margin; where it has none, what `clean` leaves of it. None for a line of another process.

    Margins of one process differ only in their time.
    """
    text = plain(line)
    own, rest = text[: len(margin)], text[len(margin) :]
    if own == margin or own == margin.rstrip():
        return rest
    if own.translate(ZEROS) != margin.translate(ZEROS):
        return clean(text)
    return rest if _TIME.search(margin) else None


def end_of_traceback(log: str, at: int) -> tuple[int, str] | None:
    """Place and text of the line that names the exception: the first one that is not indented and has the form of one."""
    margin = margin_of(cut(log, line_start(log, at)))
    below = _behind_margin(log, at, margin) if margin else _after_frames(log, at, _TRACEBACK_LINES)
    for offset, text in below:
        if TRACEBACK in text and not exception_name(text):
            return None  # another one begins; it has an end of its own
        if not text or text[0].isspace():
            continue
        if exception_name(text):
            return offset, text
        if text[0] not in "+|-[":
            return None
    return None


def _behind_margin(log: str, at: int, margin: str) -> Iterator[tuple[int, str]]:
    """The lines after the one that `at` is in, and their places."""
    for _ in range(_TRACEBACK_LINES):
        at = line_end(log, at) + 1
        if at >= len(log):
            return
        text = without_margin(cut(log, at), margin)
        if text is not None:
            yield at, text


def _after_frames(log: str, at: int, count: int) -> Iterator[tuple[int, str]]:
    """The same where there is no margin, without the lines that begin with a space and hold nothing but code and names of files."""
    end = line_end(log, at)
    while count > 0:
        if frames := _FRAMES.match(log, end):
            count -= log.count("\n", end, frames.end())
            end = frames.end()
            continue
        start = end + 1
        if start >= len(log):
            return
        text = cut(log, start)
        if not is_frame(text):
            yield start, clean(text)
        count, end = count - 1, line_end(log, start)


_FRAMES = re.compile(r"(?:\n [^\n\r\x1b|T]{0,1000}(?=\n)){1,100}")
"""Some of these lines at once: whole ones, without the first letter of a traceback."""
_NO_FRAME = re.compile(r"[\x1b\r|]|Traceback")


def is_frame(text: str) -> bool:
    """Whether a line begins with a space and holds nothing but code and names of files, so that `clean` leaves it as it is."""
    return text[:1] == " " and not _NO_FRAME.search(text)


_EXCEPTION = re.compile(r"^(?:\| )?(?P<name>[A-Za-z_][\w.]{0,120})(?::(?: |$)|$)")


def exception_name(text: str) -> str:
    """`package.SomeError` of a line such as `package.SomeError: words`; empty when the line is none."""
    match = _EXCEPTION.match(text)
    name = match["name"] if match else ""
    last = name.rpartition(".")[2]
    if last.endswith(("error", "exception", "timeout")) and name != last:
        return name  # socket.gaierror
    return name if last[:1].isupper() and any(letter.islower() for letter in last) else ""
