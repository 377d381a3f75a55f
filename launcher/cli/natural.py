"""File patterns on a command line, in the order that people count in: node2 before node10."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from launcher.errors import UsageError


def key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key: runs of digits compare as numbers, everything else as text."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name)
    return tuple((0, int(number), number) if number else (1, 0, text) for number, text in parts)


def expanded(names: Sequence[str]) -> list[str]:
    """The names, each pattern among them replaced by its files by number. Raises UsageError when one has none."""
    files: list[str] = []
    for name in names:
        if not glob.has_magic(name) or Path(name).exists():
            files.append(name)
            continue
        matches = sorted(glob.glob(name), key=key)  # noqa: PTH207 - a pattern may be absolute
        if not matches:
            raise UsageError("no file matches this pattern", where=name, hint="Check folder and spelling.")
        files.extend(matches)
    return files
