"""Holders of device locks that will not give them back by themselves, for `launcher doctor`."""

from __future__ import annotations

import os
import time
from pathlib import Path

from launcher.devices.lockfiles import Owner, open_lock, read_owner
from launcher.devices.locks import QUEUE, TURN_POLL_S, DeviceLocks
from launcher.portable import try_lock

TURN_S = 1.0
"""A process that goes on leaves the queue within microseconds."""


def stuck_holders(folder: Path) -> list[str]:
    """Sentences on locks whose holder is stopped, is gone, or did not say who it is. Blocks for a second at most."""
    words = [
        f"device {number} is held by {why}"
        for number, owner in DeviceLocks(folder).owners().items()
        if (why := _why_stuck(owner))
    ]
    if holder := _queue_holder(folder / QUEUE):
        words.append(f"the queue is held by {holder}")
    return words


def _why_stuck(owner: Owner | None) -> str:
    """Empty for a process that goes on."""
    if owner is None:
        return "a process that did not say who it is"
    state = _state(owner.pid)
    if state in ("T", "t"):
        return f"{owner}, which is stopped (kill -CONT {owner.pid})"
    if state in ("", "Z", "X"):
        return f"a process that {owner} has started and that outlived it"
    return ""


def _queue_holder(path: Path) -> str:
    deadline = time.monotonic() + TURN_S
    try:
        fd = open_lock(path)
    except OSError:
        return ""
    try:
        while not try_lock(fd, shared=True):
            if time.monotonic() > deadline:
                owner = read_owner(fd)
                return _why_stuck(owner) or f"{owner} for more than {TURN_S:g} s"
            time.sleep(TURN_POLL_S)
    finally:
        os.close(fd)
    return ""


def _state(pid: int) -> str:
    """The letter of /proc; empty for no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return ""
    return text[text.rindex(")") + 2]
