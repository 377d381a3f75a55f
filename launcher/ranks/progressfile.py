"""Writes the progress file of a rank whose program writes none, from the lines that the rank prints.

Readers find the same events as those of a program that keeps the contract. Lines are cut, and events are limited in number, so that
a talkative rank costs little. As soon as anybody else has written to the file, nothing is written to it any more.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from launcher.jobfile.spec_progress import ProgressSpec
from launcher.jsontext import parse_json
from launcher.ranks.lineprogress import PLAIN, SOURCE, LineProgress

LINE_BYTES = 4 << 10
"""The rest of a longer line is not looked at."""
BURST = 200
EVENTS_PER_S = 2.0
"""All events are kept up to a number, then so many a second; the newest is always kept."""


class LineProgressFile:
    """Gets the bytes of one rank as they come. Never raises for what they hold, nor for a full disk."""

    def __init__(self, path: Path, spec: ProgressSpec) -> None:
        self._path = path
        self._lines = LineProgress(spec)
        self._size, self._unused = _own_size(path)
        self._rest = b""
        self._skipping = False
        self._credit, self._credited = float(BURST), 0.0
        self._waiting: dict[str, Any] | None = None

    def feed(self, data: bytes, now: float) -> None:
        """More of what the rank wrote, at `now` in unix seconds. A carriage return ends a line, too: bars are drawn so."""
        if self._unused:
            return
        *whole, rest = data.replace(b"\r", b"\n").split(b"\n")
        if whole:
            first, whole[0] = self._rest + whole[0][:LINE_BYTES], b""
            for line in (b"" if self._skipping else first, *whole):
                if line:
                    self._line(line[:LINE_BYTES], now)
            self._rest, self._skipping = b"", False
        if not self._skipping:
            self._rest += rest[: LINE_BYTES + 1]
            if len(self._rest) > LINE_BYTES:
                self._line(self._rest[:LINE_BYTES], now)
                self._rest, self._skipping = b"", True

    def close(self) -> None:
        """The rank writes no more: the unfinished line and the event that waits are taken."""
        if self._unused:
            return
        if self._rest and not self._skipping:
            self._line(self._rest, self._credited)
        self._credit = max(self._credit, 1.0)
        self._write()

    def _line(self, line: bytes, now: float) -> None:
        event = self._lines.feed(line.decode("utf-8", "replace"), now)
        if event is None:
            return
        self._credit = min(BURST, self._credit + max(0.0, now - self._credited) * EVENTS_PER_S)
        self._credited = now
        if self._waiting and self._waiting["event"] == "epoch":
            self._write()  # the end of an epoch is not replaced by a step
        self._waiting = event
        self._write()

    def _write(self) -> None:
        if self._waiting is None or self._credit < 1.0 or self._unused:
            return
        text = json.dumps(self._waiting).encode() + b"\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                if os.fstat(file).st_size != self._size:
                    self._unused = True
                    return
                self._size += os.write(file, text)
            finally:
                os.close(file)
        except OSError:
            return  # the disk is full: the next event may find room
        self._waiting = None
        self._credit -= 1.0


def _own_size(path: Path) -> tuple[int, bool]:
    """The size of the file, and whether a program has written it: then it will do so again."""
    try:
        with path.open("rb") as file:
            first = file.readline(LINE_BYTES)
            size = os.fstat(file.fileno()).st_size
    except OSError:
        return 0, False
    try:
        event = parse_json(first) if first else {"from": SOURCE}
    except ValueError:
        event = None
    return size, not (isinstance(event, dict) and event.get("from") in (SOURCE, PLAIN))
