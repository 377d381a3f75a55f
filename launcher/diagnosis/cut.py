"""Where the lines of a log begin and end, in time that does not grow with the length of a line."""

from __future__ import annotations

LINE_LIMIT = 4096
"""A longer line is cut around the place that was found."""


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
