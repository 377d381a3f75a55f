"""A folder as an object store: objects are complete or absent, and nothing outside the root is touched."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from launcher.disk import CHUNK_BYTES, TEMP_PREFIX, fsync_folder, is_temporary, mapped, replacing, write_all
from launcher.errors import IntegrityError, NotFound, StoreError, StoreRefused
from launcher.portable import PLAIN_FILE, open_plain
from launcher.storage.backoff import BackoffPolicy
from launcher.storage.base import NoConditionalPut, ObjectInfo, ObjectStore, OnBytes, Pace, check_sha256
from launcher.storage.brake import Brake
from launcher.storage.download import Body, Wanted, download
from launcher.storage.keys import check_key, key_problem, local_path
from launcher.storage.registry import Location, Options

_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)


def open_file(location: Location, options: Options) -> ObjectStore:
    """For the registry."""
    return FileStore(Path(location.path), options)


class FileStore:
    """Objects are files. The ETag is made from size and time of change, so it tells versions apart."""

    def __init__(self, root: Path, options: Options, brake: Brake | None = None) -> None:
        self._root = root
        self._options = options
        self._brake = brake or Brake(options.upload_bytes_per_s)

    def __repr__(self) -> str:
        return f"FileStore({self.url!r})"

    @property
    def url(self) -> str:
        """See ObjectStore."""
        return "file://" + quote(str(self._root))

    def join(self, key: str) -> str:
        """See ObjectStore."""
        return f"{self.url.rstrip('/')}/{quote(key)}" if key else self.url

    def substore(self, prefix: str) -> ObjectStore:
        """See ObjectStore."""
        return FileStore(local_path(self._root, prefix.strip("/")), self._options, self._brake)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See ObjectStore. A symbolic link is an error unless the store was opened to follow them.

        What somebody removes meanwhile is left out, and so are folders that thereby become empty.
        """
        folder_key = prefix.rpartition("/")[0]
        if folder_key and key_problem(folder_key):
            return
        folder = local_path(self._root, folder_key) if folder_key else self._root
        with mapped(folder):
            if not folder.is_dir():
                return
            base = f"{folder_key}/" if folder_key else ""
            for info in self._walk(folder, base, frozenset()):
                if info.key.startswith(prefix):
                    yield info

    def _walk(self, folder: Path, base: str, above: frozenset[tuple[int, int]]) -> Iterator[ObjectInfo]:
        try:
            status = folder.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                raise StoreError("symbolic links lead in a circle", where=str(folder))
            entries = self._entries(folder)
        except FileNotFoundError:
            return
        for name, entry in entries:
            if name.endswith("/"):
                yield from self._walk(Path(entry.path), base + name, above | {identity})
                continue
            try:
                facts = entry.stat()
            except FileNotFoundError:
                continue
            yield _info(base + name, facts)

    def _entries(self, folder: Path) -> Iterable[tuple[str, os.DirEntry[str]]]:
        """Entries in the order of their keys: a folder sorts as its name with a slash."""
        by_key = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_temporary(entry.name):
                    continue
                if entry.is_symlink() and not self._options.follow_symlinks:
                    raise StoreError(
                        f"{entry.name!r} is a symbolic link",
                        where=str(folder),
                        hint="name the real folder, or replace the link by what it points to",
                    )
                if entry.is_dir():
                    by_key.append((entry.name + "/", entry))
                elif entry.is_file():
                    by_key.append((entry.name, entry))
                elif os.path.lexists(entry.path):
                    raise StoreError(f"{entry.name!r} is neither a file nor a folder", where=str(folder))
        return sorted(by_key, key=lambda pair: pair[0])

    def _path(self, key: str) -> Path:
        """The file of a key; refuses to go through a symbolic link below the root."""
        path = local_path(self._root, key)
        if not self._options.follow_symlinks:
            for parent in path.parents:
                if parent == self._root:
                    break
                if parent.is_symlink():
                    raise StoreRefused("is a symbolic link", where=str(parent), hint="name the real folder")
        return path

    def head(self, key: str, *, certain: bool = False) -> ObjectInfo | None:
        """See ObjectStore."""
        if key_problem(key):
            return None
        path = self._path(key)
        try:
            with mapped(path):
                return _info(key, path.stat()) if path.is_file() else None
        except NotFound:
            return None

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See ObjectStore."""
        path = self._path(key)
        with _reading(path), open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size  # Python sets aside as much memory as it is asked to read
            file.seek(start)
            return file.read() if length is None else file.read(max(0, min(length, size - start)))

    def get_file(
        self,
        key: str,
        path: Path | str,
        expect: ObjectInfo | None = None,
        *,
        sha256: str | None = None,
        fsync: bool = True,
        on_bytes: OnBytes | None = None,
        pace: Pace | None = None,
    ) -> ObjectInfo:
        """See ObjectStore."""
        source = self._path(key)

        @contextmanager
        def open_body(start: int) -> Iterator[Body]:
            with _reading(source), open_plain(source) as file:
                before = _info(key, os.fstat(file.fileno()))
                file.seek(start)
                yield Body(before, iter(lambda: file.read(CHUNK_BYTES), b""))
                if _info(key, os.fstat(file.fileno())).etag != before.etag:
                    raise IntegrityError("the file changed while it was read", where=str(source))

        wanted = Wanted(str(source), expect, sha256)
        policy = BackoffPolicy(tries=2, base_s=0.1)
        return download(open_body, path, wanted, policy=policy, fsync=fsync, on_bytes=on_bytes, pace=pace)

    def put(self, key: str, data: bytes, *, confirm: bool = True) -> ObjectInfo:
        """See ObjectStore."""
        with self._replacing(key) as handle:
            write_all(handle, data)
        return self._after(key, len(data))

    def put_new(self, key: str, data: bytes) -> bool:
        """See ObjectStore. Needs hard links, which some network file systems lack."""
        path = self._path(check_key(key, self.url))
        try:
            with self._replacing(key, new=True) as handle:
                write_all(handle, data)
        except StoreError as error:
            number = error.__cause__.errno if isinstance(error.__cause__, OSError) else None
            if number == errno.EEXIST and path.is_file():
                return False
            if number in _NO_LINKS:
                raise NoConditionalPut("the file system has no hard links", where=str(path)) from error
            raise
        return True

    def put_file(
        self,
        key: str,
        path: Path,
        *,
        length: int | None = None,
        sha256: str | None = None,
        on_bytes: OnBytes | None = None,
    ) -> ObjectInfo:
        """See ObjectStore."""
        with mapped(path), path.open("rb") as source:
            before = os.fstat(source.fileno())
            size = before.st_size if length is None else length
            with self._replacing(key) as handle:
                remaining, digest = size, hashlib.sha256()
                while remaining and (chunk := source.read(min(CHUNK_BYTES, remaining))):
                    self._brake.take(len(chunk))
                    write_all(handle, chunk)
                    if sha256:
                        digest.update(chunk)
                    remaining -= len(chunk)
                    if on_bytes:
                        on_bytes(len(chunk))
                after = os.fstat(source.fileno())
                grown = length is None and (after.st_size, after.st_mtime_ns) != (size, before.st_mtime_ns)
                if remaining or grown:
                    raise IntegrityError("the file changed during the upload", where=str(path))
                if sha256:
                    check_sha256(digest.hexdigest(), sha256, str(path))
        return self._after(key, size)

    def _after(self, key: str, size: int) -> ObjectInfo:
        info = self.head(key)
        if info is None or info.size != size:
            raise IntegrityError(f"expected {size} bytes after writing, found {info}", where=self.join(key))
        return info

    @contextmanager
    def _replacing(self, key: str, *, new: bool = False) -> Iterator[int]:
        path = self._path(check_key(key, self.url))
        with mapped(path), ExitStack() as stack:
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "is a folder")
            for last in (False, False, True):  # a concurrent delete may take the empty folder away again
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    handle = stack.enter_context(replacing(path, new=new))
                    break
                except FileNotFoundError:
                    if last:
                        raise
            yield handle

    def delete(self, key: str) -> None:
        """See ObjectStore. Folders that become empty go too, since a bucket has none."""
        if key_problem(key):
            return
        path = self._path(key)
        try:
            with _reading(path):
                if path.is_dir():
                    return
                path.unlink()
                fsync_folder(path.parent)
        except NotFound:
            return
        for parent in path.parents:
            if parent == self._root:
                break
            with suppress(OSError):
                parent.rmdir()

    def now(self) -> float:
        """See ObjectStore. A network file system has the clock of its server; where nothing can be written, this machine's is taken."""
        folder = next((each for each in (self._root, *self._root.parents) if each.is_dir()), self._root)
        try:
            return _time_of_files(folder)
        except OSError:
            return time.time()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """A folder, or something below a file, is no object."""
    try:
        with mapped(path):
            try:
                yield
            except (IsADirectoryError, NotADirectoryError) as error:
                raise FileNotFoundError(errno.ENOENT, "no such object") from error
    except NotFound as error:
        raise NotFound("no such object", where=str(path)) from error


def _time_of_files(folder: Path) -> float:
    """The time that a file written now gets, in Unix seconds: that of the server on a network file system. Raises OSError."""
    probe = folder / f"{TEMP_PREFIX}{os.getpid()}-{secrets.token_hex(6)}"
    handle = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | PLAIN_FILE, 0o600)
    try:
        return os.fstat(handle).st_mtime
    finally:
        os.close(handle)
        with suppress(OSError):
            probe.unlink()


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    etag = f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"
    return ObjectInfo(key, status.st_size, etag, status.st_mtime, ctime_ns=status.st_ctime_ns)
