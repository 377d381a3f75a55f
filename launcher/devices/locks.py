"""One kernel lock per device of this machine, and a queue in front of them.

A lock is a `flock` on a file in `lock_dir`, so the kernel frees it when its holder is gone, however that
happened. Waiting runs hold a ticket, which is a locked file too: a waiter that was killed leaves the queue
by itself. Runs whose devices overlap start in the order in which they arrived. All devices of a run are
taken at once or not at all, so two runs can't wait for each other.

The folder must lie on a local disk, and is shared by all users of the machine.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from launcher.devices.lockfiles import (
    Owner,
    guard_folder,
    is_same_file,
    open_lock,
    read_owner,
    remove_locked,
    waiting_owner,
)
from launcher.devices.lockfolder import default_lock_dir, prepare
from launcher.errors import PlanError, UsageError
from launcher.portable import try_lock

POLL_S = 0.1
TURN_POLL_S = 0.005
TURN_S = 5.0
"""Patience with the queue of a caller that does not want to wait for devices."""
QUEUE = "queue.lock"


@dataclass(slots=True)
class HeldDevices:
    """Devices that belong to this process until `release`, the end of the `with` block, or its death.

    Pass `fds` to the ranks (`pass_fds=`) and a device stays taken for as long as one of them lives,
    even when this process was killed.
    """

    ids: tuple[int, ...]
    _fds: dict[int, int] = field(repr=False)
    _guard: int | None = field(default=None, repr=False)

    @property
    def fds(self) -> tuple[int, ...]:
        """Descriptors of the locks, in the order of `ids`."""
        return tuple(self._fds[k] for k in self.ids if k in self._fds)

    def release(self) -> None:
        """Give the devices back. Safe to repeat."""
        while self._fds:
            _, fd = self._fds.popitem()
            with contextlib.suppress(OSError):
                os.ftruncate(fd, 0)
            os.close(fd)
        if self._guard is not None:
            os.close(self._guard)
            self._guard = None

    def __enter__(self) -> HeldDevices:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


@dataclass(slots=True)
class _Waiting:
    """How long to wait (None: for ever), and who is told: never inside the kernel, so that a request to stop is heard."""

    timeout_s: float | None
    on_wait: Callable[[str], None] | None = None
    on_poll: Callable[[], None] | None = None
    _began: float = field(default_factory=time.monotonic)
    _reported: str = ""

    def pause(self, reason: str, pause_s: float = POLL_S) -> None:
        """Sleeps a little. Raises PlanError when the time is over, and what `on_poll` raises."""
        if self.timeout_s is not None and time.monotonic() - self._began >= self.timeout_s:
            raise _busy(reason, waited_s=self.timeout_s)
        if self.on_wait is not None and reason != self._reported:
            self.on_wait(reason)
            self._reported = reason
        if self.on_poll is not None:
            self.on_poll()
        time.sleep(pause_s)


class DeviceLocks:
    """The locks of this machine. `label` tells other users who holds a device: the run id."""

    def __init__(self, lock_dir: Path | None = None, *, label: str = "") -> None:
        self.folder = lock_dir or default_lock_dir()
        self.label = label

    def acquire(
        self,
        ids: Sequence[int],
        wait: bool = True,
        timeout_s: float | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> HeldDevices:
        """Take exactly these devices. See `acquire_any`."""
        return self.acquire_any([ids], wait, timeout_s, on_wait)

    def acquire_any(
        self,
        choices: Sequence[Sequence[int]],
        wait: bool = True,
        timeout_s: float | None = None,
        on_wait: Callable[[str], None] | None = None,
        on_poll: Callable[[], None] | None = None,
    ) -> HeldDevices:
        """Take the first of these sets of devices that is free, waiting in the queue when none is.

        Blocks for at most `timeout_s` (None: for ever). `on_wait` gets a sentence whenever what is waited for
        changes; `on_poll` is called at every look and may raise to leave the queue. Raises PlanError when
        nothing became free in time, or at once when `wait` is false, and UsageError when the folder is no good.
        """
        if not choices or any(not ids or len(set(ids)) != len(ids) or min(ids) < 0 for ids in choices):
            raise UsageError(f"not a set of devices: {list(choices)!r}")
        with self._mapped():
            prepare(self.folder)
        waiting = _Waiting(timeout_s if wait else TURN_S, on_wait, on_poll)
        with self._ticket(choices, waiting) as ticket:
            while True:
                held, reason = self._attempt(choices, ticket, waiting)
                if held is not None:
                    return held
                if not wait:
                    raise _busy(reason, waited_s=None)
                waiting.pause(reason)

    def owners(self) -> dict[int, Owner | None]:
        """Devices that are taken now, with their holder where it could be read. Never blocks."""
        by_device: dict[int, Owner | None] = {}
        for path in sorted(self.folder.glob("device-*.lock")):
            number = path.name.removeprefix("device-").removesuffix(".lock")
            if not number.isdecimal():
                continue
            try:
                fd = open_lock(path)
            except OSError:
                continue
            try:
                # A shared lock is refused only while somebody holds the device.
                if not try_lock(fd, shared=True):
                    by_device[int(number)] = read_owner(fd)
            finally:
                os.close(fd)
        return dict(sorted(by_device.items()))

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            hint = "Set LAUNCHER_LOCK_DIR to a folder on a local disk that every user may write to."
            where = str(error.filename or self.folder)
            what = f"device locks don't work here: {error.strerror}"
            raise UsageError(what, where=where, hint=hint) from None

    @contextlib.contextmanager
    def _turnstile(self, waiting: _Waiting | None = None) -> Iterator[None]:
        """Only one process looks at the queue at a time; held for microseconds, unless its holder is stopped."""
        path, waiting = self.folder / QUEUE, waiting or _Waiting(TURN_S)
        fd = open_lock(path, create=True)
        try:
            while not (try_lock(fd) and is_same_file(fd, path)):
                waiting.pause(f"the queue is held by {read_owner(fd) or 'another process'}", TURN_POLL_S)
                os.close(fd)
                fd = open_lock(path, create=True)  # another process may have removed it
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(self._myself()).encode(), 0)
            yield
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _ticket(self, choices: Sequence[Sequence[int]], waiting: _Waiting) -> Iterator[Path]:
        with self._mapped(), self._turnstile(waiting):
            numbers = [int(path.stem) for path in self._tickets()]
            path = self.folder / f"{max(numbers, default=0) + 1:012d}.ticket"
            fd = open_lock(path, create=True)
            try:
                if not try_lock(fd):
                    raise BlockingIOError(errno.EWOULDBLOCK, "another process has locked it", str(path))
                device_ids = sorted({k for ids in choices for k in ids})
                os.write(fd, json.dumps({"ids": device_ids, **self._myself()}).encode())
            except OSError:
                remove_locked(path, fd)
                raise
        try:
            yield path
        finally:
            remove_locked(path, fd)

    def _tickets(self) -> list[Path]:
        """In order of arrival."""
        return sorted(path for path in self.folder.glob("*.ticket") if path.stem.isdecimal())

    def _attempt(
        self, choices: Sequence[Sequence[int]], ticket: Path, waiting: _Waiting
    ) -> tuple[HeldDevices | None, str]:
        with self._mapped(), self._turnstile(waiting):
            candidates = {k for ids in choices for k in ids}
            ahead = [
                owner
                for path in self._tickets()
                if path < ticket and (owner := waiting_owner(path, candidates))
            ]
            if ahead:
                count = "1 run is" if len(ahead) == 1 else f"{len(ahead)} runs are"
                return None, f"{count} ahead in the queue, first {ahead[0]}"
            reason = ""
            for ids in choices:
                held, why = self._take(ids)
                if held is not None:
                    return held, ""
                reason = reason or why
            return None, reason

    def _take(self, ids: Sequence[int]) -> tuple[HeldDevices | None, str]:
        fds: dict[int, int] = {}
        held = HeldDevices(tuple(ids), fds, guard_folder(self.folder))
        try:
            for k in sorted(ids):
                fd = fds[k] = open_lock(self.folder / f"device-{k}.lock", create=True)
                if not try_lock(fd):
                    owner = read_owner(fd)
                    os.close(fds.pop(k))  # not ours: `release` must not empty it
                    held.release()
                    return None, f"device {k} is held by {owner or 'another process'}"
                os.ftruncate(fd, 0)
                os.pwrite(fd, json.dumps(self._myself()).encode(), 0)
        except OSError:
            held.release()
            raise
        return held, ""

    def _myself(self) -> dict[str, object]:
        return {"pid": os.getpid(), "label": self.label, "since": time.time(), "host": socket.gethostname()}


def _busy(reason: str, *, waited_s: float | None) -> PlanError:
    waited = f" (waited {waited_s:g} s)" if waited_s else ""
    return PlanError(
        f"{reason}{waited}", hint="Wait for it, choose other devices, or `launcher status` to see the run."
    )
