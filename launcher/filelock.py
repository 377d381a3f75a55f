"""A lock that the kernel holds: it can't be stale, and a killed holder lets go at once.

The lock file is never removed, since removing it would let two holders lock two different files of one name.
For node-local disks; network file systems are not relied on.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_HELD: set[int] = set()


class LockTimeout(Exception):
    """Another process held the lock for the whole time allowed."""


def _forget_after_fork() -> None:
    """A forked child shares the lock; without this it would keep it after its parent's death."""
    for handle in list(_HELD):
        os.close(handle)
    _HELD.clear()


os.register_at_fork(after_in_child=_forget_after_fork)


@contextmanager
def locked(
    path: Path,
    *,
    timeout_s: float | None = None,
    on_wait: Callable[[], None] | None = None,
    poll_s: float = 0.2,
) -> Iterator[None]:
    """Hold the lock for the block. `on_wait` is called while another process has it.

    Raises LockTimeout after `timeout_s`, and OSError when the file can't be opened.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    _HELD.add(handle)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if deadline is not None and time.monotonic() >= deadline:
                    raise LockTimeout(f"{path} is still locked after {timeout_s:.0f} s") from None
                if on_wait:
                    on_wait()
                time.sleep(poll_s)
        yield
    finally:
        if handle in _HELD:
            _HELD.discard(handle)
            os.close(handle)
