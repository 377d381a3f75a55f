"""The files of device locks and tickets: opening, locking, and reading the owner."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from launcher.jsontext import parse_json
from launcher.portable import PLAIN_FILE, try_lock


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that holds a device, as it wrote into the lock file. For messages only: the lock is the kernel's."""

    pid: int
    label: str
    since: float

    def __str__(self) -> str:
        name = f"{self.label} (pid {self.pid})" if self.label else f"pid {self.pid}"
        return f"{name} since {time.strftime('%H:%M:%S', time.localtime(self.since))}"


def open_lock(path: Path, *, create: bool = False) -> int:
    """Open for reading and writing, creating it writable for every user. Never follows a symbolic link, nor blocks in a pipe.

    Raises OSError, also for what is no plain file.
    """
    fd = _open(path, create=create)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no plain file; remove it", str(path))
    return fd


def _open(path: Path, *, create: bool) -> int:
    flags = os.O_RDWR | PLAIN_FILE | os.O_NONBLOCK
    try:
        # First without O_CREAT: in a sticky folder the kernel refuses it for another user's file.
        return os.open(path, flags)
    except FileNotFoundError:
        if not create:
            raise
    fd = os.open(path, flags | os.O_CREAT, 0o666)
    with contextlib.suppress(PermissionError):
        os.fchmod(fd, 0o666)  # whatever the umask
    return fd


def is_same_file(fd: int, path: Path) -> bool:
    """Whether `path` still is the open file."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def guard_folder(folder: Path) -> int:
    """A shared lock on the folder: systemd's cleaner of temporary files leaves locked folders alone."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try_lock(fd, shared=True)
    return fd


def remove_locked(path: Path, fd: int) -> None:
    """Remove the file, then unlock it. Raises nothing for a file that can't be removed."""
    with contextlib.suppress(OSError):
        path.unlink()
    os.close(fd)


def waiting_owner(path: Path, wanted: set[int]) -> str:
    """The owner of this ticket, if it waits for one of these devices; else empty. Removes tickets of dead processes."""
    try:
        fd = open_lock(path)
    except OSError:
        return ""
    try:
        if try_lock(fd):
            with contextlib.suppress(OSError):
                path.unlink()
            return ""
        values = _read_json(fd)
        ids = values.get("ids")
        overlaps = not isinstance(ids, list) or not wanted.isdisjoint(ids)
        return str(read_owner(fd) or "another process") if overlaps else ""
    finally:
        os.close(fd)


def read_owner(fd: int) -> Owner | None:
    """The owner that a lock file names; None where that can't be read."""
    values = _read_json(fd)
    pid, label, since = values.get("pid"), values.get("label", ""), values.get("since")
    if isinstance(pid, int) and isinstance(since, int | float):
        return Owner(pid, str(label), float(since))
    return None


def _read_json(fd: int) -> dict[str, object]:
    try:
        values = parse_json(os.pread(fd, 1 << 16, 0))
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
