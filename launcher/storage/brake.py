"""A limit for uploads: so many bytes per second, over all threads of one store."""

from __future__ import annotations

import threading
import time

PART_BYTES = 8 << 20
"""With a limit, nothing larger goes out at once: a burst at full speed is no longer than this."""


class Brake:
    """`take` waits until the bytes may be sent, so that the average stays below the limit; with None it never waits."""

    def __init__(self, bytes_per_s: int | None = None) -> None:
        self.bytes_per_s = bytes_per_s
        self._lock = threading.Lock()
        self._free_at = 0.0

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self.bytes_per_s is not None

    def take(self, count: int) -> None:
        """Wait for everything that was taken before; the next caller waits for these bytes."""
        if not self.bytes_per_s:
            return
        with self._lock:
            now = time.monotonic()
            begin = max(now, self._free_at)
            self._free_at = begin + count / self.bytes_per_s
        time.sleep(max(0.0, begin - now))
