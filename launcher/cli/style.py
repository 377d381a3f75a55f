"""Colours and tables of the terminal. Nothing is coloured where no terminal is, or where NO_COLOR is set."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from launcher.cli.terminal import control
from launcher.printable import printable, printable_lines

CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}
STATE_STYLES = {
    "SUCCEEDED": "green",
    "FAILED": "red",
    "CANCELLED": "yellow",
    "UNKNOWN": "magenta",
    "RUNNING": "cyan",
    "QUEUED": "yellow",
    "PENDING": "yellow",
}
GAP = 2


def coloured(stream: TextIO | None = None) -> bool:
    """Whether a stream takes colours. NO_COLOR and FORCE_COLOR mean what they mean elsewhere."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return (stream or sys.stdout).isatty() and os.environ.get("TERM") != "dumb"


def paint(text: str, style: str, on: bool) -> str:
    if not (on and style and text):
        return text
    return control(f"\x1b[{CODES[style]}m") + text + control("\x1b[0m")


def width_of(stream: TextIO | None = None, default: int | None = None) -> int | None:
    """Columns of the terminal; `default` when the stream is not a terminal."""
    if not (stream or sys.stdout).isatty():
        return default
    import shutil

    return shutil.get_terminal_size().columns


def cut(text: str, width: int) -> str:
    """At most `width` characters, with … for what was left out."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def wrap(text: str, indent: int, width: int | None) -> str:
    """Long lines broken between words for a text that begins at column `indent`; a path or URL stays whole."""
    lines: list[str] = []
    for line in printable_lines(text).splitlines():
        if width is None or len(line) + indent <= width:
            lines.append(line)
        else:
            room = max(20, width - indent)
            lines += textwrap.wrap(line, room, break_long_words=False, break_on_hyphens=False)
    return f"\n{' ' * indent}".join(lines)


@dataclass(frozen=True)
class Column:
    """`rank` 0 stays always; columns of a higher rank go first when there is little room. One may be `flexible`."""

    title: str
    rank: int = 0
    right: bool = False
    flexible: bool = False
    least: int = 12


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    width: int | None,
    styles: Sequence[Sequence[str]] | None = None,
    colour: bool = False,
) -> str:
    """A table with a heading that fits into `width` (None: any). `styles` are the colours of the cells. Empty columns are left out."""
    rows = [[printable(cell) for cell in row] for row in rows]
    keep = [i for i in range(len(columns)) if columns[i].rank == 0 or any(row[i] for row in rows)]
    widths = {i: max(len(columns[i].title), *(len(row[i]) for row in rows)) for i in keep}
    if width is not None:
        keep = _fitting(columns, keep, widths, width)
    lines = [paint(_line(columns, [c.title for c in columns], keep, widths), "bold", colour)]
    for number, row in enumerate(rows):
        tints = styles[number] if styles else [""] * len(row)
        lines.append(_line(columns, row, keep, widths, tints if colour else None))
    return "\n".join(lines)


def _fitting(columns: Sequence[Column], keep: list[int], widths: dict[int, int], width: int) -> list[int]:
    """Columns that stay; shrinks the flexible one in `widths` before it drops one."""

    def total() -> int:
        return sum(widths[i] for i in keep) + GAP * (len(keep) - 1)

    flexible = next((i for i in keep if columns[i].flexible), None)
    natural = widths[flexible] if flexible is not None else 0
    while total() > width:
        if flexible in keep and flexible is not None and widths[flexible] > columns[flexible].least:
            widths[flexible] = max(columns[flexible].least, widths[flexible] - (total() - width))
            continue
        last = max(keep, key=lambda i: (columns[i].rank, i))
        if columns[last].rank == 0:
            break
        keep = [i for i in keep if i != last]
        if flexible in keep and flexible is not None:
            widths[flexible] = natural
    return keep


def _line(
    columns: Sequence[Column],
    cells: Sequence[str],
    keep: Sequence[int],
    widths: dict[int, int],
    tints: Sequence[str] | None = None,
) -> str:
    parts = []
    for i in keep:
        text = cut(cells[i], widths[i])
        filled = text.rjust(widths[i]) if columns[i].right else text.ljust(widths[i])
        if i == keep[-1] and not columns[i].right:
            filled = text
        parts.append(paint(filled, tints[i], True) if tints else filled)
    return (" " * GAP).join(parts).rstrip()
