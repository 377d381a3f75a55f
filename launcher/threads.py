"""Threads on a machine that may have no more of them: `ulimit -u`, or a container's limit of processes."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")
LOW_PRIORITY = 15
"""A nice value: beside programs that keep all cores busy such a thread gets a twentieth of one (measured). Linux counts it within a
session or a cgroup only; ranks lead sessions of their own."""
_OF_PYTHON = "can't start new thread"
"""What CPython raises as a bare RuntimeError."""


def lacks_threads(error: BaseException) -> OSError | None:
    """The limit that a RuntimeError of Python stands for, as an error of the machine; None for any other error."""
    if isinstance(error, RuntimeError) and str(error) == _OF_PYTHON:
        return OSError(errno.EAGAIN, "no more threads can be started")
    return None


def start(thread: threading.Thread) -> None:
    """Raises OSError when the machine starts no more threads."""
    try:
        thread.start()
    except RuntimeError as error:
        if limit := lacks_threads(error):
            raise limit from error
        raise


def started(thread: threading.Thread) -> bool:
    """Start a thread that can be done without. False when the machine starts no more of them."""
    try:
        start(thread)
    except OSError:
        return False
    return True


def join(thread: threading.Thread, timeout_s: float | None = None) -> None:
    """Wait for the end of a thread; one that was never started has ended."""
    if thread.ident is not None:
        thread.join(timeout_s)


def give_way() -> None:
    """Lower the priority of this thread and of those that it starts, where each thread has one of its own, for good."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOW_PRIORITY)


def environment() -> dict[str, str]:
    """A copy of this process's variables. Copying fails when another thread changes one meanwhile, so it is done again then."""
    while True:
        with suppress(KeyError, RuntimeError):
            return dict(os.environ)


class _Task(Generic[T]):
    """Work that is done once, by whoever comes first."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work, self._taken = work, threading.Lock()
        self.future: Future[T] = Future()

    def run(self) -> None:
        """Do the work, unless somebody does it already or it was cancelled."""
        if not self._taken.acquire(blocking=False) or not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self._work())
        except BaseException as error:  # raised again by whoever waits for the result
            self.future.set_exception(error)


class Workers(ThreadPoolExecutor):
    """A pool of as many threads as the machine starts. What no thread could be started for is done by the caller."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As that of the base class; it blocks for as long as `fn` takes when there are too few threads."""
        task = _Task(partial(fn, *args, **kwargs))
        try:
            super().submit(task.run)
        except RuntimeError as error:
            if lacks_threads(error) is None:
                raise
            task.run()  # unless a thread that was started before has taken it
        return task.future
