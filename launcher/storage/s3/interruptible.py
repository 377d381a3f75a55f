"""Calls of libraries that wait outside of Python, where no signal handler runs until they return."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import ParamSpec, TypeVar

from launcher.threads import started

P = ParamSpec("P")
T = TypeVar("T")


def interruptible(call: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """The result of `call`. In the main thread Ctrl-C and SIGTERM are handled at once, also while the store is silent."""
    if threading.current_thread() is not threading.main_thread():
        return call(*args, **options)
    future: Future[T] = Future()
    thread = threading.Thread(
        target=_run, args=(partial(call, *args, **options), future), name="obstore", daemon=True
    )
    return future.result() if started(thread) else call(*args, **options)


def _run(call: Callable[[], T], future: Future[T]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # raised again by the thread that waits
        future.set_exception(error)
