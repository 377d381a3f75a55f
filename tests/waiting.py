"""Waiting for an event. The limit is for a test that fails: no machine is so busy that one that passes needs it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

PATIENCE_S = 400.0
Found = TypeVar("Found")


def wait_until(
    condition: Callable[[], Found],
    what: Callable[[], object] | str = "",
    timeout_s: float = PATIENCE_S,
    poll_s: float = 0.02,
) -> Found:
    """The first answer of `condition` that is true. `what` says what was waited for, or is asked once the time is over."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what() if callable(what) else what}")
        time.sleep(poll_s)
    return found


def state_of(pid: int) -> str:
    """The letter that the kernel has for a process, such as T for one that was stopped; empty when there is none."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def is_alive(pid: int) -> bool:
    """False for a zombie, too."""
    return state_of(pid) not in ("", "Z", "X")
