"""Files out of a shard's bytes while these arrive, found by the offsets of the shard's index."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from launcher.disk import mapped, write_all
from launcher.portable import PLAIN_FILE
from launcher.storage.base import OnBytes


@dataclass(frozen=True, slots=True)
class WantedFile:
    """A file of one shard that is not on the disk yet."""

    key: str
    offset: int
    size: int


class Extractor:
    """Writes the wanted files into `folder`, the n-th one under the name n, without copying a byte in Python.

    `wanted` is in the order of the offsets; `on_bytes` is called with the number of bytes written.
    """

    def __init__(self, wanted: list[WantedFile], folder: Path, on_bytes: OnBytes) -> None:
        self._wanted = wanted
        self._base = f"{folder}/"
        self._on_bytes = on_bytes
        self._next = 0  # the wanted file to open next
        self._position = 0  # of the shard: where the next piece begins
        self._handle = -1  # the file that is being written, or -1
        self._left = 0  # bytes of it that are still missing

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the shard."""
        view, begin, end = memoryview(piece), self._position, self._position + len(piece)
        written = 0
        with mapped(self._base):
            if self._handle >= 0:
                written += self._write(view[: self._left])
            while self._handle < 0 and self._next < len(self._wanted):
                file = self._wanted[self._next]
                starts_later = file.offset >= end if file.size else file.offset > end
                if starts_later:
                    break
                self._open(file)
                start = file.offset - begin
                written += self._write(view[start : start + file.size])
        self._position = end
        self._on_bytes(written)

    def close(self) -> None:
        """Close a file that is not complete; safe to repeat."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _open(self, file: WantedFile) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | PLAIN_FILE
        self._handle = os.open(self._base + str(self._next), flags, 0o666)
        self._left = file.size
        self._next += 1

    def _write(self, view: memoryview) -> int:
        size = len(view)
        write_all(self._handle, view)
        self._left -= size
        if not self._left:
            self.close()
        return size
