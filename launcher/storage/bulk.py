"""Many objects into a folder: a bounded number of threads, and one error at the end that names what failed.

How a single object is fetched is up to the store.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from launcher.disk import os_error
from launcher.errors import LauncherError, NoSpace, StoreError, StoreRefused, StoreUnreachable
from launcher.storage.base import ObjectInfo, ObjectStore, OnBytes, Pace
from launcher.threads import join, started

MIN_FAILURES = 8
FAILED_SHARE = 0.01
WINDOW_S = 2.0
TICK_S = 0.25
BATCH = 8
BATCH_BYTES = 1 << 20
"""A worker takes so many small files at a time: looking for what is missing costs less in a row."""


class AdaptivePace(Pace):
    """Fewer requests at a time when the store answers that it is busy; one more after each window without that."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._most = limit
        self._limit = float(limit)
        self._running = 0
        self._changed = 0.0
        self._lock = threading.Lock()
        self._condition = threading.Condition(self._lock)
        self._waiting = 0

    @property
    def limit(self) -> int:
        """How many requests may run now."""
        return max(1, int(self._limit))

    def busy(self) -> None:
        """Halve the limit, at most once a window, since one burst is answered to many threads at once."""
        with self._lock:
            now = time.monotonic()
            if now - self._changed >= WINDOW_S / 4:
                self._limit = max(1.0, self._limit / 2)
                self._changed = now

    def enter(self) -> None:
        """Wait for a place. Returns at once after `stop`."""
        with self._lock:
            while self._running >= self.limit and not self.stop.is_set():
                self._waiting += 1
                self._condition.wait(0.2)
                self._waiting -= 1
                self._relax()
            self._running += 1

    def leave(self) -> None:
        """Give the place back."""
        with self._lock:
            self._running -= 1
            if self._limit < self._most:
                self._relax()
            if self._waiting:
                self._condition.notify()

    def _relax(self) -> None:
        now = time.monotonic()
        if self._limit < self._most and now - self._changed >= WINDOW_S:
            self._limit = min(float(self._most), self._limit + 1)
            self._changed = now


class Download(NamedTuple):
    """One object and the file to write. The folder must exist."""

    info: ObjectInfo
    path: str


def _batches(downloads: Iterable[Download], most: int) -> Iterator[list[Download]]:
    batch: list[Download] = []
    size = 0
    for download in downloads:
        batch.append(download)
        size += download.info.size
        if len(batch) >= most or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


@contextmanager
def few_collections() -> Iterator[None]:
    """Collect garbage less often: a million files leave no cycles, and each collection costs more than one of them."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@dataclass
class Bulk:
    """A running download of many objects. `on_tick` is called by the thread of `run`, and may raise to end it.

    `on_fetched` gets each object as it was fetched, in the thread that fetched it.
    """

    store: ObjectStore
    pace: AdaptivePace
    on_bytes: OnBytes | None = None
    on_tick: Callable[[], None] | None = None
    deadline: float | None = None
    on_fetched: Callable[[ObjectInfo], None] | None = None
    done: int = 0
    failed: list[tuple[str, LauncherError]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _fatal: BaseException | None = None
    _budget: float = float("inf")

    def run(self, downloads: Iterable[Download], total: int, workers: int) -> None:
        """Fetch all. One object's failure does not end the others, but raises at the end, with the names.

        Lack of space, a refusal, the deadline, or failures beyond the budget (1 %) end everything at once.
        The workers take a few of `downloads` at a time, so memory does not grow with their number.
        """
        source = _batches(downloads, min(BATCH, total // (4 * workers)))
        self._budget = max(MIN_FAILURES, FAILED_SHARE * total)
        threads = [
            threading.Thread(target=self._work, args=(source,), name=f"get-{n}", daemon=True)
            for n in range(workers)
        ]
        try:
            running = [thread for thread in threads if started(thread)]
            if not running:
                self._work(source)
            for thread in running:
                while thread.is_alive():
                    thread.join(TICK_S)
                    self._check(total)
        except BaseException:
            self.pace.stop.set()
            raise
        finally:
            for thread in threads:
                join(thread)
        self._check(total)
        if self.failed:
            raise self._error(total)

    def _check(self, total: int) -> None:
        """Raises what ends everything."""
        if self._fatal is not None:
            raise self._fatal
        if self.on_tick:
            self.on_tick()
        if len(self.failed) > self._budget:
            raise self._error(total)
        if self.deadline is not None and time.monotonic() > self.deadline and self.done < total:
            raise StoreUnreachable(
                f"out of time with {self.done} of {total} objects done",
                where=self.store.url,
                hint="run again to continue, or allow more time; what arrived is kept",
            )

    def _work(self, source: Iterator[list[Download]]) -> None:
        try:
            while not self.pace.stop.is_set():
                with self._lock:
                    batch = next(source, None)
                if batch is None:
                    return
                self.pace.enter()  # a worker has one request at a time, so a batch is one place
                try:
                    for download in batch:
                        self._one(download)
                finally:
                    self.pace.leave()
        except BaseException as error:  # raised again by the thread of `run`
            with self._lock:
                self._fatal = self._fatal or error
            self.pace.stop.set()

    def _one(self, download: Download) -> None:
        if self.pace.stop.is_set():
            return
        try:
            fetched = self.store.get_file(
                download.info.key,
                download.path,
                download.info,
                fsync=False,
                on_bytes=self.on_bytes,
                pace=self.pace,
            )
            if self.on_fetched:
                self.on_fetched(fetched)
        except (LauncherError, OSError) as error:
            self._failure(
                download.info.key, os_error(error, download.path) if isinstance(error, OSError) else error
            )
        else:
            with self._lock:
                self.done += 1

    def _failure(self, key: str, error: LauncherError) -> None:
        """Record the error, or raise it when it would hit all other objects, too."""
        if isinstance(error, (NoSpace, StoreRefused)):
            raise error
        with self._lock:
            self.failed.append((key, error))
            if len(self.failed) > self._budget:
                self.pace.stop.set()

    def _error(self, total: int) -> StoreError:
        first = self.failed[0][1]
        kind = type(first) if isinstance(first, StoreError) else StoreError
        names = ", ".join(repr(key) for key, _ in self.failed[:5])
        more = f" and {len(self.failed) - 5} more" if len(self.failed) > 5 else ""
        if len(self.failed) == 1:
            return kind(first.what, where=first.where, hint=first.hint)
        return kind(
            f"{len(self.failed)} of {total} objects failed: {names}{more}; the first: {first.what}",
            where=self.store.url,
            hint=first.hint or "run again to continue; what arrived is kept",
        )
