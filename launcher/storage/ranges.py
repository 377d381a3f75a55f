"""One large object over several connections: ranges of it are fetched at the same time.

When a digest needs the bytes in order, ranges are held in memory until it is their turn; else each goes straight to its place
in the file. Memory is bounded for a whole store: `Connections` is a fixed number, and a download that gets none of them reads
its object over one connection.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Protocol, TypeVar

from launcher.portable import write_at
from launcher.threads import Workers

RANGE_BYTES = 16 << 20
FIRST_BYTES = 1 << 20
"""The request that opens a large object asks for so many bytes."""
LARGE_BYTES = 64 << 20
"""An object is worth several connections when so much of it is still to come."""
CONNECTIONS_PER_OBJECT = 4
CONNECTIONS_PER_STORE = 8

T = TypeVar("T")


class Connections:
    """The connections that all large downloads from one store share."""

    def __init__(self, count: int = CONNECTIONS_PER_STORE) -> None:
        self._free = count
        self._lock = threading.Lock()

    def take(self) -> int:
        """As many connections as one object may have now; 0 when fewer than two are free."""
        with self._lock:
            count = min(self._free, CONNECTIONS_PER_OBJECT)
            if count < 2:
                return 0
            self._free -= count
            return count

    def give_back(self, count: int) -> None:
        """Return what `take` gave."""
        with self._lock:
            self._free += count


class RangeSource(Protocol):
    """One version of one object."""

    def read(self, start: int, length: int, stop: threading.Event) -> Iterator[bytes]:
        """The bytes of a range, all of them. Any thread may call it. Raises StoreError, also early once `stop` is set."""

    def confirm(self) -> None:
        """Called after the last byte. Raises IntegrityError when the ranges may be of different versions."""


@dataclass(frozen=True, slots=True)
class Remainder:
    """The bytes of an object from `start` to `end`, which are still to be fetched."""

    source: RangeSource
    start: int
    end: int
    connections: int

    def in_order(self) -> Generator[bytes, None, None]:
        """The bytes; at most one range per connection is in memory at a time.

        The first range that fails ends it with that range's error, after everything before it was given.
        """
        with closing(self._fetched(self._collect, self.connections)) as ranges:
            for chunks in ranges:
                while chunks:
                    yield chunks.popleft()
        self.source.confirm()

    def into_file(self, handle: int, on_bytes: Callable[[int], None]) -> None:
        """Write the bytes to their places in an open file. `on_bytes` is called for each range, in order.

        After an error the file may hold more bytes than were reported.
        """
        write = partial(self._write, _OwnHandle(handle))
        with closing(self._fetched(write, 4 * self.connections)) as lengths:
            for length in lengths:
                on_bytes(length)
        self.source.confirm()

    def _collect(self, start: int, length: int, stop: threading.Event) -> deque[bytes]:
        return deque(self.source.read(start, length, stop))

    def _write(self, file: _OwnHandle, start: int, length: int, stop: threading.Event) -> int:
        position = start
        for chunk in self.source.read(start, length, stop):
            write_all_at(file.handle, chunk, position)
            position += len(chunk)
        return length

    def _fetched(
        self, fetch: Callable[[int, int, threading.Event], T], window: int
    ) -> Generator[T, None, None]:
        """The result of `fetch` for each range, in order; at most `window` ranges are fetched and not yet consumed."""
        stop = threading.Event()
        starts = iter(range(self.start, self.end, RANGE_BYTES))
        queue: deque[Future[T]] = deque()
        pool = Workers(self.connections, thread_name_prefix="range")
        try:
            while True:
                for start in islice(starts, window - len(queue)):
                    length = min(RANGE_BYTES, self.end - start)
                    queue.append(pool.submit(partial(fetch, start, length, stop)))
                if not queue:
                    return
                yield queue.popleft().result()
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


class _OwnHandle:
    """A duplicate of a file's handle, closed when no thread uses it any more.

    After a second Ctrl-C a thread may outlive the download; it must not write to another file that got the same number.
    """

    def __init__(self, handle: int) -> None:
        self.handle = os.dup(handle)

    def __del__(self) -> None:
        os.close(self.handle)


def write_all_at(handle: int, data: bytes, position: int) -> None:
    """`os.pwrite` until everything is written."""
    view = memoryview(data)
    while view:
        written = write_at(handle, view, position)
        view, position = view[written:], position + written
