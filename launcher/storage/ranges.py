"""One large object over several connections: stretches of it are fetched side by side.

Where a digest needs the bytes in order they are delivered in order, from memory, so that resume and digests stay simple;
else each stretch goes straight to its place in the file. Memory is bounded for a whole store: `Lanes` has a fixed number
of places, and who finds none reads its object over the one connection it has.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from launcher.errors import StoreUnreachable

STRETCH_BYTES = 16 << 20
PIECE_BYTES = 1 << 20
"""What goes to a file at a time."""
FIRST_BYTES = 1 << 20
"""What the request that opens the object brings."""
LARGE_BYTES = 64 << 20
"""An object is worth several connections when so much of it is still to come."""
LANES_PER_OBJECT = 4
LANES_PER_STORE = 8


class Target(Protocol):
    """Where the bytes of a stretch go, in order."""

    def room(self) -> memoryview:
        """Memory for the next ones; empty once all have come."""

    def filled(self, count: int) -> None:
        """So many of them are there."""


class InMemory:
    """A target in memory of the caller."""

    def __init__(self, memory: memoryview) -> None:
        self._left = memory

    def room(self) -> memoryview:
        """See Target."""
        return self._left

    def filled(self, count: int) -> None:
        """See Target."""
        self._left = self._left[count:]


class InFile:
    """A target in an open file: `length` bytes from `start` on."""

    def __init__(self, handle: int, start: int, length: int) -> None:
        self._handle = handle
        self._position = start
        self._left = length
        self._buffer = memoryview(bytearray(min(PIECE_BYTES, length)))

    def room(self) -> memoryview:
        """See Target."""
        return self._buffer[: self._left]

    def filled(self, count: int) -> None:
        """See Target."""
        view = self._buffer[:count]
        while view:
            written = os.pwrite(self._handle, view, self._position)
            view = view[written:]
            self._position += written
        self._left -= count


def pour(data: bytes | memoryview, target: Target) -> bool:
    """Copy into a target. False when there was more than it has room for."""
    view = memoryview(data)
    while view and (room := target.room()):
        count = min(len(view), len(room))
        room[:count] = view[:count]
        target.filled(count)
        view = view[count:]
    return not view


_THREADS = "raise the limit of processes (ulimit -u, or that of the container)"

FetchStretch = Callable[[int, int, Callable[[], Target], threading.Event], None]
"""Start, length, and what makes a target for another try; given up early when the event is set. Raises StoreError."""


class Lanes:
    """Places for stretches on their way, shared by everything that reads from one store."""

    def __init__(self, places: int = LANES_PER_STORE) -> None:
        self._free = places
        self._lock = threading.Lock()

    def take(self) -> int:
        """As many places as one object may have now; 0 when there are not even two."""
        with self._lock:
            taken = min(self._free, LANES_PER_OBJECT)
            if taken < 2:
                return 0
            self._free -= taken
            return taken

    def give(self, places: int) -> None:
        """Give places back."""
        with self._lock:
            self._free += places


@dataclass(frozen=True, slots=True)
class Rest:
    """Everything of an object from `start` to `end`, which is not asked for yet. `check` has the last word."""

    fetch: FetchStretch
    start: int
    end: int
    lanes: int
    check: Callable[[], None]

    def in_order(self) -> Generator[memoryview, None, None]:
        """The bytes; at most `lanes` stretches are in memory at a time.

        What is yielded is valid until the next one is asked for. The first failing stretch ends it with that
        stretch's error, after everything before it was delivered.
        """
        # used again and again: fresh memory costs more than receiving into it
        free = [bytearray(min(STRETCH_BYTES, self.end - self.start)) for _ in range(self.lanes)]
        used: deque[bytearray] = deque()

        def target(start: int, length: int) -> Callable[[], Target]:
            used.append(free.pop())
            return partial(InMemory, memoryview(used[-1])[:length])

        with self._stretches(target, self.lanes, lambda: None) as done:
            for length in done:
                yield memoryview(used[0])[:length]
                free.append(used.popleft())
        self.check()

    def into(self, handle: int, arrived: Callable[[int], None]) -> None:
        """Write to the same places of a file. `arrived` is told of each stretch, in order; after an error the file has
        more than it was told of."""
        own = os.dup(
            handle
        )  # threads that nobody waits for any more must not write to what has its number later
        with self._stretches(partial(partial, InFile, own), 4 * self.lanes, partial(os.close, own)) as done:
            for length in done:
                arrived(length)
        self.check()

    @contextmanager
    def _stretches(
        self, target: Callable[[int, int], Callable[[], Target]], window: int, ended: Callable[[], None]
    ) -> Generator[Generator[int, None, None], None, None]:
        """Fetches them, and gives the length of each that has come, in order; at most `window` have targets. `ended` is called when
        no thread is left."""
        stop = threading.Event()
        pool = ThreadPoolExecutor(self.lanes, thread_name_prefix="stretch")
        queue: deque[tuple[Future[None], int]] = deque()

        def lengths() -> Generator[int, None, None]:
            position = self.start
            while queue or position < self.end:
                while position < self.end and len(queue) < window:
                    length = min(STRETCH_BYTES, self.end - position)
                    make = target(position, length)
                    try:
                        future = pool.submit(self.fetch, position, length, make, stop)
                    except RuntimeError as error:
                        raise StoreUnreachable("no more threads can be started", hint=_THREADS) from error
                    queue.append((future, length))
                    position += length
                queue[0][0].result()
                yield queue[0][1]
                queue.popleft()

        try:
            yield lengths()
        finally:
            stop.set()
            for future, _ in queue:
                future.cancel()
                with suppress(Exception):
                    future.exception()
            pool.shutdown(wait=True, cancel_futures=True)
            ended()
