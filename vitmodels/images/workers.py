"""Image files read by worker processes into shared memory, ahead of training, in a fixed order.

A batch is cut into chunks; any worker takes any chunk and writes its pixels to their rows, so the order
does not depend on the workers' speed. The next image in file order replaces an unreadable training image, up to the recipe's limit; an
unreadable evaluation image stays black and counts as a miss.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory

import numpy as np

from vitmodels.config import Recipe
from vitmodels.errors import DataError
from vitmodels.images.data import UNREADABLE, ImageFolder, Request, reason_of
from vitmodels.program import uninterrupted

CHUNK = 16  # images per task: large enough to hide a task's cost, small enough to share a batch
AHEAD = 3  # batches being read besides the one in use


@dataclass(frozen=True)
class _Task:
    slot: str
    first: int  # row of the batch
    indices: list[int]
    positions: list[int]
    epoch: int | None


class _Worker:
    """The state of a worker process."""

    folder: ImageFolder
    recipe: Recipe
    side: int
    slots: dict[str, SharedMemory]


def _start(folder: ImageFolder, recipe: Recipe, side: int, parent: int) -> None:
    import ctypes
    import signal

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no worker outlives its rank
    if os.getppid() != parent:
        os._exit(1)
    from vitmodels.images.pixels import keep_memory

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the rank decides when to stop
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    keep_memory()
    _Worker.folder, _Worker.recipe, _Worker.side, _Worker.slots = folder, recipe, side, {}


def _rows(memory: SharedMemory, side: int) -> np.ndarray:
    return np.ndarray((memory.size // (side * side * 3), side, side, 3), np.uint8, memory.buf)


def _work(task: _Task) -> list[tuple[int, int, int, str]]:
    """Fill the rows of one task; returns (row, index, index used instead or -1, why) for each unreadable image."""
    if task.slot not in _Worker.slots:
        _Worker.slots[task.slot] = SharedMemory(task.slot)
    rows = _rows(_Worker.slots[task.slot], _Worker.side)
    replaced = []
    for offset, index in enumerate(task.indices):
        used, why = _fill(rows[task.first + offset], index, task.positions[offset], task.epoch)
        if used != index:
            replaced.append((task.first + offset, index, used, why))
    return replaced


def _fill(row: np.ndarray, index: int, position: int, epoch: int | None) -> tuple[int, str]:
    """Write the image `index`, or the next readable one; returns the index used, and why it is another one."""
    from vitmodels.images.augment import load_eval, load_train

    folder, recipe, side = _Worker.folder, _Worker.recipe, _Worker.side
    why = ""
    if epoch is None:
        try:
            row[:] = load_eval(folder.source(index), recipe, side)
        except UNREADABLE as error:
            row[:] = 0
            return -1, reason_of(error)
        return index, why
    for step in range(min(len(folder), recipe.max_corrupt + 1)):
        used = (index + step) % len(folder)
        try:
            row[:] = load_train(folder.source(used), recipe, side, epoch, position)
        except UNREADABLE as error:
            why = why or reason_of(error)
            continue
        return used, why
    raise DataError(f"{recipe.max_corrupt + 1} unreadable images in a row after {folder.files[index]}: {why}")


class FileImages:
    """A split read from files whenever it is needed. Call `close` when done."""

    def __init__(
        self, folder: ImageFolder, recipe: Recipe, side: int, batch: int, note: Callable[[str], None]
    ) -> None:
        self.labels = folder.labels
        self.unreadable: dict[int, str] = {}
        self._folder, self._recipe, self._side, self._note = folder, recipe, side, note
        cores = len(os.sched_getaffinity(0))
        self.processes = max(1, min(recipe.num_parallel_workers, cores))
        self._pool = ProcessPoolExecutor(
            self.processes,
            multiprocessing.get_context("spawn"),
            initializer=_start,
            initargs=(folder, recipe, side, os.getpid()),
        )
        with uninterrupted:
            self._pool.submit(os.getpid)  # starts the workers
        size = batch * side * side * 3
        self._slots = [SharedMemory(create=True, size=size) for _ in range(AHEAD + 1)]

    def __len__(self) -> int:
        return len(self.labels)

    def stream(self, requests: Iterable[Request]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(uint8 images (B, H, W, 3), indices used) of every request, in order.

        The images are valid until the next one is asked for. An index of -1 is an unreadable evaluation image.
        """
        waiting: deque[tuple[SharedMemory, Request, list[Future]]] = deque()
        free = deque(self._slots)
        source = iter(requests)
        try:
            while True:
                while free and (request := next(source, None)) is not None:
                    slot = free.popleft()
                    waiting.append((slot, request, self._submit(slot, request)))
                if not waiting:
                    return
                slot, request, futures = waiting.popleft()
                used = self._collect(request, futures)
                yield _rows(slot, self._side)[: len(used)], used
                free.append(slot)
        finally:
            for _, _, futures in waiting:
                for future in futures:
                    future.cancel()
            for _, _, futures in waiting:
                for future in futures:
                    if not future.cancelled():
                        future.exception()  # a slot must not be written to after this

    def _submit(self, slot: SharedMemory, request: Request) -> list[Future]:
        futures = []
        for first in range(0, len(request.indices), CHUNK):
            part = slice(first, first + CHUNK)
            task = _Task(
                slot.name,
                first,
                request.indices[part].tolist(),
                request.positions[part].tolist(),
                request.epoch,
            )
            futures.append(self._pool.submit(_work, task))
        return futures

    def _collect(self, request: Request, futures: list[Future]) -> np.ndarray:
        used = np.array(request.indices)
        try:
            for future in futures:
                for row, index, instead, why in future.result():
                    used[row] = instead
                    self._count(index, why)
        except BrokenProcessPool as error:
            raise DataError("a data worker died", hint="the machine may be out of memory") from error
        return used

    def _count(self, index: int, why: str) -> None:
        if index in self.unreadable:
            return
        self.unreadable[index] = why
        count = len(self.unreadable)
        self._note(f"unreadable image {count}: {self._folder.path(index)}: {why}")
        if count > self._recipe.max_corrupt:
            raise DataError(
                f"more than {self._recipe.max_corrupt} unreadable images in {self._folder.root}",
                hint="repair the data set, or raise max_corrupt",
            )

    def close(self) -> None:
        """End the workers and free the shared memory."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for slot in self._slots:
            slot.close()
            slot.unlink()
        self._slots = []
