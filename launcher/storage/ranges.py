"""One large object over several connections, delivered in order, so that resume and digests stay simple.

The first bytes come with the request that opened the object; the following ones are fetched ahead by a few
threads. Memory is bounded for a whole store: `Lanes` has a fixed number of places, and who finds none reads
its object over the one connection it has.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

STRETCH_BYTES = 16 << 20
FIRST_BYTES = 1 << 20
"""What the request that opens the object brings."""
LARGE_BYTES = 64 << 20
"""An object is worth several connections when so much of it is still to come."""
LANES_PER_OBJECT = 4
LANES_PER_STORE = 8

FetchStretch = Callable[[int, memoryview, threading.Event], None]
"""Fills memory with the bytes from a start; given up early when the event is set. Raises StoreError."""


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


def ahead(fetch: FetchStretch, start: int, end: int, lanes: int) -> Generator[memoryview, None, None]:
    """The bytes from `start` to `end`, in order; at most `lanes` stretches are in memory at a time.

    What is yielded is valid until the next one is asked for. The first failing stretch ends it with that stretch's
    error, after everything before it was delivered.
    """
    stop = threading.Event()
    pool = ThreadPoolExecutor(lanes, thread_name_prefix="stretch")
    # used again and again: fresh memory costs more than receiving into it
    free = [bytearray(min(STRETCH_BYTES, end - start)) for _ in range(lanes)]
    queue: deque[tuple[Future[None], bytearray, int]] = deque()
    position = start
    try:
        while queue or position < end:
            while position < end and free:
                buffer, length = free.pop(), min(STRETCH_BYTES, end - position)
                queue.append(
                    (pool.submit(fetch, position, memoryview(buffer)[:length], stop), buffer, length)
                )
                position += length
            future, buffer, length = queue.popleft()
            future.result()
            yield memoryview(buffer)[:length]
            free.append(buffer)
    finally:
        stop.set()
        for future, _, _ in queue:
            future.cancel()
            with suppress(Exception):
                future.exception()
        pool.shutdown(wait=True, cancel_futures=True)
