"""Files of this machine: complete-or-absent writes, part names, digests, and what an OSError means."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import IntegrityError, LauncherError, NoSpace, NotFound, StoreError, StoreRefused
from launcher.portable import PLAIN_FILE, NoPlainFile, open_special, set_mode, try_lock

CHUNK_BYTES = 1 << 20
TEMP_PREFIX = ".launcher-tmp-"
PART_PREFIX = ".launcher-part-"

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP)
_LIMITS = {
    errno.EMFILE: "raise the limit of open files: ulimit -n 4096",
    errno.ENFILE: "raise the limit of open files: ulimit -n 4096",
    errno.EAGAIN: "end other processes of yours, or raise the limit: ulimit -u",
    errno.ENOMEM: "free some memory",
}
_NO_LOCKS = "set LAUNCHER_HOME (output.work_dir) to a folder of a local disk, or mount NFS with its locks"
_SHAPE = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY)
_OTHERS = {
    errno.ENOLCK: ("this file system has no locks", _NO_LOCKS),
    errno.ENAMETOOLONG: ("the name is too long for this file system", ""),
    **dict.fromkeys(_SHAPE, ("is a file and a folder at once", "rename one of the two")),
}


def os_error(error: OSError, where: str) -> StoreError:
    """The member of our tree that says what this OSError means."""
    if isinstance(error, NoPlainFile):
        hint = "remove it, or put a copy of the right file in its place"
        return IntegrityError("is a pipe, a socket or a device, and no file", where=where, hint=hint)
    reason = (error.strerror or str(error)).lower()
    if error.errno in _FULL:
        return NoSpace(f"no space left: {reason}", where=where, hint="free some space or name another folder")
    if error.errno in _LIMITS:
        return StoreError(f"this machine is at a limit: {reason}", where=where, hint=_LIMITS[error.errno])
    if error.errno == errno.ENOENT:
        return NotFound("no such file or folder", where=where)
    if error.errno in _REFUSED:
        read_only = error.errno == errno.EROFS
        hint = "mount it writable or name another folder" if read_only else "check owner and permissions"
        return StoreRefused(f"the file system refused: {reason}", where=where, hint=hint)
    if error.errno in _OTHERS:
        what, hint = _OTHERS[error.errno]
        return StoreError(what, where=where, hint=hint)
    return StoreError(f"the file system failed: {reason}", where=where)


@contextmanager
def mapped(where: str | Path) -> Iterator[None]:
    """Turn an OSError of the block into our tree."""
    try:
        yield
    except LauncherError:
        raise
    except OSError as error:
        raise os_error(error, str(where)) from error


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable, on systems that open folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def temporary_path(folder: Path) -> Path:
    """A name in the folder that nothing has."""
    return folder / f"{TEMP_PREFIX}{os.getpid()}-{os.urandom(6).hex()}"


def is_temporary(name: str) -> bool:
    """True for the names this module gives to files that are not complete."""
    return name.startswith((TEMP_PREFIX, PART_PREFIX))


@contextmanager
def replacing(path: Path, *, fsync: bool = True, new: bool = False, private: bool = False) -> Iterator[int]:
    """A descriptor to write to; the file appears under `path` when the block ends well, and not otherwise.

    With `new`, raises FileExistsError when `path` exists by then. With `private`, only the owner may read and write it, whatever
    the umask. A device or pipe that is there is written to, never replaced.
    """
    if not new and (special := open_special(path)) is not None:
        with os.fdopen(special, "wb", buffering=0) as file:
            yield file.fileno()
        return
    temporary = temporary_path(path.parent)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | PLAIN_FILE, 0o666)
    try:
        try:
            if private:
                set_mode(handle, 0o600)
            yield handle
            if fsync:
                os.fsync(handle)
        finally:
            os.close(handle)
        if new:
            path.hardlink_to(temporary)
            temporary.unlink()
        else:
            temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if fsync:
        fsync_folder(path.parent)


def write_all(handle: int, data: bytes | memoryview) -> None:
    """`os.write` until everything is written."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def write_atomic(path: Path, data: bytes) -> None:
    """Create or replace a file so that a reader sees the old or the new content, even after a crash."""
    with mapped(path), replacing(path) as handle:
        write_all(handle, data)


def part_path(path: Path) -> Path:
    """The fixed name under which `path` is downloaded; its length does not depend on the name's."""
    return path.with_name(part_name(path.name))


def part_name(name: str) -> str:
    """The last word of `part_path`."""
    return PART_PREFIX + hashlib.sha256(name.encode()).hexdigest()[:24]


def open_part(path: Path) -> tuple[int, Path]:
    """Open the part file of `path`, locked. Another process at the same file gets a part of its own."""
    flags = os.O_RDWR | os.O_CREAT | PLAIN_FILE
    part = part_path(path)
    while True:
        handle = os.open(part, flags, 0o666)
        try:
            if not try_lock(handle):
                part = part.with_name(f"{part_path(path).name}-{os.getpid()}-{os.urandom(4).hex()}")
            elif os.fstat(handle).st_ino == part.stat().st_ino:
                return handle, part
        except FileNotFoundError:
            pass  # the other process has just renamed it into place
        os.close(handle)


@dataclass(frozen=True, slots=True)
class Digests:
    """Facts about some bytes, from one pass."""

    size: int
    md5: str
    sha256: str


def digest_file(path: Path, length: int | None = None) -> Digests:
    """Read a file once, or its first `length` bytes."""
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    with mapped(path), path.open("rb") as file:
        while length is None or size < length:
            chunk = file.read(CHUNK_BYTES if length is None else min(CHUNK_BYTES, length - size))
            if not chunk:
                break
            md5.update(chunk)
            sha256.update(chunk)
            size += len(chunk)
    return Digests(size, md5.hexdigest(), sha256.hexdigest())


def md5_of(data: bytes) -> str:
    """The MD5 as hex digits; stores use it as a checksum, nothing here relies on it against an attacker."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Create or replace, with the folders above. Raises StoreError (NoSpace among them)."""
    with mapped(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.encode())


def write_private(path: Path, text: str) -> None:
    """The same for a file of a run or of the home: it and the folders that it needs are for their owner alone, whatever the umask."""
    make_private(path.parent)
    with mapped(path), replacing(path, private=True) as handle:
        write_all(handle, text.encode())


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for their owner alone. Raises StoreError."""
    with mapped(folder):
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        for each in reversed(missing):
            with suppress(FileExistsError):
                each.mkdir(mode=0o700)
                each.chmod(0o700)
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


_HELD: set[int] = set()


class LockTimeout(Exception):
    """Another process held the lock for the whole time allowed."""


def _forget_after_fork() -> None:
    """A forked child shares the lock; without this it would keep it after its parent's death."""
    for handle in list(_HELD):
        os.close(handle)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
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
    handle = os.open(path, os.O_RDWR | os.O_CREAT | PLAIN_FILE, 0o666)
    _HELD.add(handle)
    try:
        while not try_lock(handle, where=str(path)):
            if deadline is not None and time.monotonic() >= deadline:
                raise LockTimeout(f"{path} is still locked after {timeout_s:.0f} s")
            if on_wait:
                on_wait()
            time.sleep(poll_s)
        yield
    finally:
        if handle in _HELD:
            _HELD.discard(handle)
            os.close(handle)


class Folders:
    """Creates the folders of keys, once each, and never goes through a symbolic link below the root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._text = str(root)
        self._known: set[str] = {""}

    def path(self, key: str) -> Path:
        """Where the object goes; its folder exists afterwards."""
        self.make(key.rpartition("/")[0])
        return self.root / key

    def place(self, key: str) -> str:
        """The same as text, which costs less for a million of them."""
        folder = key.rpartition("/")[0]
        if folder not in self._known:
            self.make(folder)
        return f"{self._text}/{key}"

    def make(self, folder: str) -> None:
        """The folder and those above it exist afterwards, and none of them is a link."""
        if folder in self._known:
            return
        self.make(folder.rpartition("/")[0])
        path = self.root / folder
        with mapped(path):
            with suppress(FileExistsError):
                path.mkdir()
            if path.is_symlink() or not path.is_dir():
                raise IntegrityError("is not a folder", where=str(path), hint="remove it, then run again")
        self._known.add(folder)
