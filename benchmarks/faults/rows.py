"""The file of a campaign: one JSON line per injection, so that a campaign goes on where it was interrupted."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; a last line that was not written whole counts as not there."""
    if not path.exists():
        return []
    whole, _, rest = path.read_bytes().rpartition(b"\n")
    if rest:
        print(
            f"{path}: the last line is not whole and is left out; its injection runs again", file=sys.stderr
        )
    return [_row(path, number, line) for number, line in enumerate(whole.splitlines(), 1)]


def drop_half_line(path: Path) -> None:
    """Cut off what an interrupted campaign left after the last whole line."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        file.truncate(file.read().rfind(b"\n") + 1)


def add_row(path: Path, row: dict[str, Any]) -> None:
    """Append a row, in one piece."""
    with path.open("ab", buffering=0) as file:
        file.write(json.dumps(row).encode() + b"\n")


def _row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        row = error
    if not isinstance(row, dict):
        raise SystemExit(
            f"{path}, line {number}: not a row of a campaign: {line[:80]!r}; remove the line, and its injection runs again"
        )
    return row
