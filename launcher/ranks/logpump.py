"""The logs of a gang: ranks write to pipes, one thread copies the lines to files of limited size.

A rank never waits for the disk: a full disk loses log lines, which are counted, and neither stops nor fails a rank.
The beginning and the end of each log are kept in memory for the diagnosis.
"""

from __future__ import annotations

import os
import selectors
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from launcher.ranks.progressfile import LineProgressFile
from launcher.runfolder.logtimes import TimesFile
from launcher.threads import start

EXCERPT_BYTES = 512 << 10
MARKS = 4096
MARK_EVERY_S = 0.1
"""How many times are kept of a log, and how near to each other."""
PARTS = 3
"""A log has a beginning that is never overwritten, an older part and the newest part, each a third of the limit."""
_READ_BYTES = 256 << 10
_RETRY_S = 2.0
_LAST_READ_BYTES = 1 << 20
"""At the end a pipe is read as far as this: more than it holds, and an end to a process that goes on writing."""


@dataclass
class Excerpt:
    """The first and the last bytes a process wrote since it started."""

    head: bytearray = field(default_factory=bytearray)
    tail: bytearray = field(default_factory=bytearray)
    _marks: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=MARKS))
    _written: int = 0

    def add(self, data: bytes, now: float = 0.0) -> None:
        """Append bytes that were read at `now`, unix seconds; 0 for a time that is not known."""
        if now and (not self._marks or now - self._marks[-1][1] >= MARK_EVERY_S):
            self._marks.append((self._written, now))
        self._written += len(data)
        room = max(0, EXCERPT_BYTES - len(self.head))
        self.head += data[:room]
        self.tail += data[room:]
        if len(self.tail) > 2 * EXCERPT_BYTES:
            del self.tail[:-EXCERPT_BYTES]

    @property
    def text(self) -> str:
        return (self.head + self.tail).decode("utf-8", "replace")

    @property
    def times(self) -> tuple[tuple[int, float], ...]:
        """When the parts of `text` were read: (offset, unix seconds). Offsets count bytes: after non-ASCII text they are too high."""
        lost = self._written - len(self.head) - len(self.tail)
        return tuple(
            (at if at <= len(self.head) else max(len(self.head), at - lost), when) for at, when in self._marks
        )


class LimitedLog:
    """Appends to `path`. Beyond its share of the limit the file becomes `<stem>.head.log`, later ones `<stem>.old.log`.

    Next to each is a file with the times of its lines, see `launcher.runfolder.logtimes`.
    """

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self._path = path
        self._part_bytes = max(1, limit_bytes // PARTS)
        self._file = -1
        self._size = 0
        self._lost = 0
        self._not_before = 0.0
        self._times = TimesFile(path)

    @property
    def lost_bytes(self) -> int:
        """Bytes lost since the last successful write."""
        return self._lost

    def write(self, data: bytes) -> None:
        """Never raises. Lost bytes are counted, and a line in the log gives their number once the disk has room again."""
        if self._lost and time.monotonic() < self._not_before:
            self._lost += len(data)
            return
        try:
            self._open()
            if self._size + len(data) > self._part_bytes and self._size:
                self._rotate()
            if self._lost:
                self._write_all(
                    f"[launcher: {self._lost} bytes of this log are lost: the disk was full]\n".encode()
                )
                self._lost = 0
            if data:
                self._times.mark(self._size)
            self._write_all(data)
        except OSError:
            self._lost += len(data)
            self._not_before = time.monotonic() + _RETRY_S
            self.close()

    def close(self) -> None:
        if self._file >= 0:
            with suppress(OSError):
                os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        if self._file < 0:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._size = os.fstat(self._file).st_size

    def _rotate(self) -> None:
        self.close()
        head = self._path.with_name(f"{self._path.stem}.head.log")
        new = self._path.with_name(f"{self._path.stem}.old.log") if head.exists() else head
        self._path.replace(new)
        self._times.rename(new)
        self._open()

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.write(self._file, view)
            self._size += written
            view = view[written:]


class LogPump:
    """One thread for all logs of a gang. `open` returns the end of the pipe that a process writes to."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._read_bytes = min(_READ_BYTES, max(1, limit_bytes // PARTS))
        self._selector = selectors.DefaultSelector()
        self._logs: dict[str, LimitedLog] = {}
        self._last_output_at: dict[str, float] = {}
        self._progress: dict[str, LineProgressFile] = {}
        self.excerpts: dict[str, Excerpt] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)

    def open(self, name: str, path: Path, progress: LineProgressFile | None = None) -> int:
        """A new descriptor to write the log of the process `name` to; the caller closes it after the start.

        `progress` gets what the process writes, too.
        """
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        self._logs[name] = LimitedLog(path, self._limit_bytes)
        self._logs[name].write(b"")  # a rank without output has an empty log
        self.excerpts[name] = Excerpt()
        if progress is not None:
            self._progress[name] = progress
        self._selector.register(reading, selectors.EVENT_READ, name)
        if not self._thread.is_alive() and not self._end.is_set():
            start(self._thread)
        return writing

    def last_output_at(self, name: str) -> float:
        """When the process last wrote something, on the monotonic clock; 0 when it never did."""
        return self._last_output_at.get(name, 0.0)

    @property
    def lost_bytes(self) -> int:
        """Lost bytes that no log mentions yet: more than 0 means that the disk is full now."""
        return sum(log.lost_bytes for log in self._logs.values())

    def close(self) -> None:
        """Read the rest of the pipes, and end. A process that still holds the other end is not waited for."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        for _ in range(_LAST_READ_BYTES // self._read_bytes + 1):
            if not self._read_ready(0):
                break
        for key in list(self._selector.get_map().values()):
            self._forget(key.fd)
        self._selector.close()
        for log in self._logs.values():
            log.close()
        for progress in self._progress.values():
            progress.close()

    def _run(self) -> None:
        while not self._end.is_set():
            if not self._read_ready(0.1):
                self._end.wait(0.02)

    def _read_ready(self, timeout_s: float) -> bool:
        """Read once from each pipe that has data; False: none has."""
        ready = self._selector.select(timeout_s)
        for key, _ in ready:
            self._take(key.fd, str(key.data))
        return bool(ready)

    def _take(self, fd: int, name: str) -> None:
        try:
            data = os.read(fd, self._read_bytes)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # the process has closed its log, or has ended
            self._forget(fd)
            return
        self._last_output_at[name] = time.monotonic()
        self.excerpts[name].add(data, time.time())
        self._logs[name].write(data)
        if progress := self._progress.get(name):
            progress.feed(data, time.time())

    def _forget(self, fd: int) -> None:
        with suppress(KeyError, OSError):
            self._selector.unregister(fd)
            os.close(fd)
