"""The lines of a log that say what went wrong."""

from __future__ import annotations

import re

_TRACEBACK = "Traceback (most recent call last):"
_ERROR_LINE = re.compile(
    r"^(?:[\w.]*(?:Error|Exception|Interrupt)\b.*|(?:error|fatal|FATAL|ERROR)\b[: ].*|\S*python\S*: (?:No module|can't open).*|can't start .*)"
)
_GLOG_ERROR = re.compile(r"^\[(?:ERROR|CRITICAL)\]")
_ASCEND_CODE = re.compile(r"\bE[A-Z0-9]\d{4}\b")
_MAX_LINES = 200


def ascend_code(line: str) -> str:
    """The error code of CANN in a line of a log, such as EI0006; empty when there is none."""
    match = _ASCEND_CODE.search(line)
    return match[0] if match else ""


def error_lines(text: str) -> list[str]:
    """Lines of a log that state an error, in order; of a traceback, the line that ends it."""
    found = []
    inside = False
    for line in text.splitlines():
        if line.startswith(_TRACEBACK):
            inside = True
        elif inside and line and not line[0].isspace():
            inside = False
            found.append(line.strip())
        elif not inside and (_ERROR_LINE.match(line) or _GLOG_ERROR.match(line) or _ASCEND_CODE.search(line)):
            found.append(line.strip())
        if len(found) >= _MAX_LINES:
            break
    return found
