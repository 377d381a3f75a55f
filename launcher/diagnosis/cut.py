"""Where the lines of a log begin and end, in time that does not grow with the length of a line, and what of them counts."""

from __future__ import annotations

import re

LINE_LIMIT = 4096
"""A longer line is cut around the place that was found."""
ZEROS = str.maketrans("123456789", "000000000")
"""For `str.translate`: each digit becomes 0, so that lines which differ in numbers only are equal."""


def line_start(log: str, at: int) -> int:
    """Of the line that a place is in, or as far before it as a line may be long."""
    low = max(0, at - LINE_LIMIT)
    start = max(log.rfind("\n", low, at), log.rfind("\r", low, at)) + 1
    return start if start else low


def line_end(log: str, at: int) -> int:
    """Where the line feed or carriage return stands behind it; no further than a line may be long."""
    high = min(len(log), at + LINE_LIMIT)
    end = log.find("\n", at, high)
    end = high if end < 0 else end
    other = log.find("\r", at, end)
    return end if other < 0 else other


def cut(log: str, start: int) -> str:
    """The line that begins there."""
    return log[start : min(line_end(log, start), start + LINE_LIMIT)]


_PREFIX = re.compile(
    r"^(?:\d{4}-\d\d-\d\dT[\d:.]{8,30}(?:Z|[+-]\d\d:\d\d) (?:stdout|stderr) [FP] |\[(?:rank|default)\d{1,5}\]:\s?|\d{1,5}: (?=\s{0,8}(?:Traceback|File|\w+Error)))"
)
_GROUP = re.compile(r"^ {2,40}\| ")
"""The margin of an exception group's tracebacks."""
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def plain(text: str) -> str:
    """A line without escapes, and without what a progress bar overwrote."""
    text = _ESCAPES.sub("", text).rpartition("\r")[2] if "\x1b" in text or "\r" in text else text
    return text.rstrip("\r\n")


def clean(text: str) -> str:
    """The same without the prefix of a rank."""
    text = plain(text)
    text = _GROUP.sub("", text, count=1) if text[:2] == "  " else text
    begins = text[:1]
    return _PREFIX.sub("", text, count=1) if begins == "[" or begins.isdecimal() else text
