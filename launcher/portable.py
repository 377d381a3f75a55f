"""Calls that differ between Linux and the laptops that only submit, and what there is no replacement for."""

from __future__ import annotations

import errno
import importlib
import os
import stat
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

# "O_BINARY" and "O_NOINHERIT" are Windows' own.
PLAIN_FILE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
PLAIN_FILE |= getattr(os, "O_CLOEXEC", getattr(os, "O_NOINHERIT", 0))
"""Flags of `os.open` for a file of bytes that no link replaces and no child inherits, as far as the system has them."""
_NEEDED = ("fcntl", "resource")
_NEEDED_CALLS = ("posix_spawn", "killpg", "sched_setaffinity")
_SEEK = threading.Lock()
_LOCKLESS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)
USUAL_BLOCK = 4096


class NoPlainFile(OSError):
    """A pipe, a socket or a device where a file was expected."""


def open_plain(path: str | Path) -> BinaryIO:
    """A file to read from. Raises OSError: NoPlainFile for what is none, at once, where opening a pipe waits for who writes to it."""
    file = open(path, "rb", opener=_open_at_once)  # noqa: SIM115 - the method has no opener
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise NoPlainFile(errno.EINVAL, "is no plain file", str(path))


def read_plain(path: str, start: int = 0) -> bytes:
    """The bytes that a file has now, from `start` on. Raises OSError as `open_plain` does; takes half its time, which thousands of logs need."""
    handle = _open_at_once(path, PLAIN_FILE & ~getattr(os, "O_NOFOLLOW", 0))
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise NoPlainFile(errno.EINVAL, "is no plain file", path)
        if start:
            os.lseek(handle, start, os.SEEK_SET)
        data, size = b"", max(0, status.st_size - start)
        while len(data) < size and (piece := os.read(handle, size - len(data))):
            data = data + piece if data else piece
    finally:
        os.close(handle)
    return data


def _open_at_once(name: str, flags: int) -> int:
    try:
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a device without its driver
            raise NoPlainFile(errno.EINVAL, "is no plain file", name) from error
        raise


def _module(name: str) -> Any:
    """None where the system has no such module."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_fcntl, _msvcrt = _module("fcntl"), _module("msvcrt")


def open_special(path: Path) -> int | None:
    """A descriptor to write to what must not be replaced: a device, a pipe, or a name like /dev/stdout. None for others.

    A pipe without a reader is an error, and no wait.
    """
    try:
        mode = path.lstat().st_mode
    except OSError:
        return None
    folders = path.absolute().parts[1:3]
    system = folders[:1] in (("dev",), ("proc",)) and folders != ("dev", "shm")
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode) or (stat.S_ISLNK(mode) and not system):
        return None
    handle = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
    if hasattr(os, "set_blocking"):
        os.set_blocking(handle, True)
    return handle


def try_lock(handle: int, *, shared: bool = False, where: str | None = None) -> bool:
    """Whether the lock of an open file is ours now; it ends with the handle. Never blocks.

    On a system without locks it always is: such a machine has one person at one command. On a file system without locks,
    as NFS may be, raises OSError (ENOLCK), which names `where`.
    """
    if _fcntl is not None:
        try:
            _fcntl.flock(handle, (_fcntl.LOCK_SH if shared else _fcntl.LOCK_EX) | _fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _LOCKLESS:
                raise OSError(errno.ENOLCK, "this file system has no locks", where) from error
            raise
    elif _msvcrt is not None:
        try:
            _msvcrt.locking(handle, _msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
    return True


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """Of the file system of a folder, in bytes. `free_inodes`: None for one that does not count them."""

    total: int
    free: int
    block: int
    free_inodes: int | None


def disk_space(folder: Path) -> DiskSpace:
    """Raises OSError."""
    if not hasattr(os, "statvfs"):
        import shutil

        usage = shutil.disk_usage(folder)
        return DiskSpace(usage.total, usage.free, USUAL_BLOCK, None)
    disk = os.statvfs(folder)
    block = disk.f_frsize or USUAL_BLOCK
    inodes = disk.f_favail if disk.f_files else None
    return DiskSpace(disk.f_blocks * block, disk.f_bavail * block, block, inodes)


def write_at(handle: int, data: memoryview, position: int) -> int:
    """`os.pwrite`; where there is none, no other thread may move in the same file meanwhile."""
    if hasattr(os, "pwrite"):
        return os.pwrite(handle, data, position)
    with _SEEK:
        os.lseek(handle, position, os.SEEK_SET)
        return os.write(handle, data)


def set_mode(handle: int, mode: int) -> None:
    """`os.fchmod`, where files have modes."""
    if hasattr(os, "fchmod"):
        os.fchmod(handle, mode)


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def lacks_of_linux() -> str:
    """What this system lacks for running ranks, as a list in words; empty on Linux."""
    lacking = [name for name in _NEEDED if _module(name) is None]
    lacking += [f"os.{name}" for name in _NEEDED_CALLS if not hasattr(os, name)]
    lacking += [] if Path("/proc/self").exists() else ["/proc"]
    return ", ".join(lacking)


def boot_id() -> str:
    """Of Linux, else empty. Changes with each start of the machine; files not synced before a crash can't be trusted after it."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""
