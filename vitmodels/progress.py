"""Progress of a rank for readers outside: one JSON line per event, and a table of epochs.

`progress/rank-<r>.jsonl` belongs to each rank, `metrics.jsonl` to rank 0. Every line is one write
to a file opened for appending, so a reader never sees half of one, and a killed rank loses none.
"""

from __future__ import annotations

import errno
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def json_line(record: dict[str, Any]) -> str:
    """One line of strict JSON; a number that JSON lacks (NaN, infinity) becomes text."""
    safe = {
        key: (str(value) if isinstance(value, float) and not math.isfinite(value) else value)
        for key, value in record.items()
    }
    return json.dumps(safe, allow_nan=False) + "\n"


@contextmanager
def open_atomic(path: Path) -> Iterator[TextIO]:
    """A text file to write piece by piece: it gets its name when it is whole, and an error leaves the old one.

    Names of files that aren't UTF-8 keep their bytes. The error of a full disk names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with temp.open("w", encoding="utf-8", errors="surrogateescape") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temp.replace(path)
    except OSError as error:
        if error.errno in DISK_FULL and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        temp.unlink(missing_ok=True)


def write_atomic(path: Path, text: str) -> None:
    """Replace a small text file so that readers see the old or the new one."""
    with open_atomic(path) as file:
        file.write(text)


def write_json(path: Path, value: Any) -> None:
    """`write_atomic` of indented JSON."""
    write_atomic(path, json.dumps(value, indent=2) + "\n")


class Progress:
    """The event file of one rank. Without a run directory, events are dropped."""

    def __init__(self, run_dir: Path | None, rank: int) -> None:
        self._path: Path | None = None
        if run_dir is not None:
            self._path = run_dir / "progress" / f"rank-{rank}.jsonl"
            self._path.parent.mkdir(parents=True, exist_ok=True)

    def event(self, event: str, **fields: Any) -> None:
        """Append one event."""
        if self._path is None:
            return
        line = json_line({"t": round(time.time(), 3), "event": event, **fields}).encode()
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)

    def phase(self, phase: str) -> None:
        """Append the event that a phase begins."""
        self.event("phase", phase=phase)


class Metrics:
    """`metrics.jsonl`: one line per finished epoch."""

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / "metrics.jsonl"

    def rows(self) -> list[dict[str, Any]]:
        """Every complete line; an incomplete last line is skipped."""
        if not self.path.is_file():
            return []
        rows = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                rows.append(row)
        return rows

    def drop_after(self, step: int) -> None:
        """Remove the epochs after `step`, which a resumed run trains again."""
        rows = self.rows()
        remaining = [row for row in rows if row["step"] <= step]
        if self.path.is_file() and len(remaining) != len(rows):
            write_atomic(self.path, "".join(json_line(row) for row in remaining))

    def append(self, **row: Any) -> None:
        """Add one epoch."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json_line(row))
            file.flush()
            os.fsync(file.fileno())
