"""OBS through moxing, which only the images of Huawei's cloud have: for a container that may reach OBS by no other credentials.

moxing is a black box: it promises no checksums, no temporary names, no resume. So it only moves bytes here. Downloads go
through the same part names and checks as everywhere; what was uploaded is read back and compared. It knows no ETag, so an
object's content can be proven only where a manifest names its sha256, and it asks for the size of each object singly: for
data sets of many files boto3 with the same credentials is the better way.
"""

from __future__ import annotations

import hashlib
import importlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from launcher.disk import CHUNK_BYTES, mapped
from launcher.errors import IntegrityError, NotFound, StoreError, StoreUnreachable, UsageError
from launcher.storage.backoff import with_backoff
from launcher.storage.base import NoConditionalPut, ObjectInfo, ObjectStore, OnBytes, Pace, check_sha256
from launcher.storage.brake import Brake
from launcher.storage.download import Body, Wanted, download
from launcher.storage.keys import check_key
from launcher.storage.registry import Location, Options

T = TypeVar("T")
CLIENT_VARIABLE = "LAUNCHER_OBS_CLIENT"
CLIENTS = ("boto3", "moxing")
NEEDED = ("File", "copy", "exists", "is_directory", "list_directory", "make_dirs", "remove", "stat")


def moxing_wanted(word: str) -> bool:
    """Whether obs:// goes through moxing. Raises UsageError for a word that names no client."""
    if word and word not in CLIENTS:
        raise UsageError(f"{CLIENT_VARIABLE}={word}", hint=f"one of {', '.join(CLIENTS)}")
    return word == "moxing"


def load() -> Any:
    """`moxing.file` of an image of Huawei's cloud. Raises UsageError where there is none, or another package of that name."""
    try:
        module = importlib.import_module("moxing")
    except ImportError as error:
        raise UsageError(
            "moxing is not installed",
            hint=f"only images of Huawei's cloud have it; elsewhere unset {CLIENT_VARIABLE}: obs:// then goes through boto3",
        ) from error
    file = getattr(module, "file", None)
    if file is None or any(not hasattr(file, name) for name in NEEDED):
        raise UsageError(
            "the package moxing here is not Huawei's: it has no moxing.file",
            where=str(getattr(module, "__file__", "")),
            hint=f"the one on PyPI is unrelated; uninstall it, or unset {CLIENT_VARIABLE}",
        )
    return file


def open_moxing(location: Location, options: Options) -> ObjectStore:
    """For the registry."""
    return MoxingStore(location, options, load(), Brake(options.upload_bytes_per_s))


class MoxingStore:
    """A bucket, or a folder of one."""

    def __init__(self, location: Location, options: Options, file: Any, brake: Brake) -> None:
        self._location = location
        self._options = options
        self._file = file
        self._brake = brake

    def __repr__(self) -> str:
        return f"MoxingStore({self.url!r})"

    @property
    def url(self) -> str:
        """See ObjectStore."""
        return f"obs://{self._location.bucket}/{self._location.path}".rstrip("/")

    def join(self, key: str) -> str:
        """See ObjectStore."""
        return f"{self.url}/{key}" if key else self.url

    def substore(self, prefix: str) -> ObjectStore:
        """See ObjectStore."""
        path = check_key(
            "/".join(part for part in (self._location.path, prefix.strip("/")) if part), self.url
        )
        return MoxingStore(
            Location("obs", self._location.bucket, path), self._options, self._file, self._brake
        )

    def _call(self, key: str, request: Callable[[], T]) -> T:
        """Repeat a call within the policy. moxing documents no exceptions, so any failure counts as one of the network."""
        return with_backoff(self._options.backoff, lambda: self._once(key, request))

    def _once(self, key: str, request: Callable[[], T]) -> T:
        try:
            return request()
        except StoreError:
            raise
        except Exception as error:
            raise StoreUnreachable(
                f"moxing failed with {type(error).__name__}",
                where=self.join(key),
                hint="see its own messages above; check the agency or keys of the job, and the bucket's name",
            ) from error

    # -- reading -------------------------------------------------------------------------------------------

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See ObjectStore. moxing gives all names at once, and sizes one by one."""
        names = self._call(
            prefix,
            lambda: (
                list(self._file.list_directory(self.url, recursive=True))
                if self._file.exists(self.url)
                else []
            ),
        )
        for name in sorted({name.rstrip("/") for name in names}, key=str.encode):
            if name.startswith(prefix) and (info := self.head(name)) is not None:
                yield info

    def head(self, key: str, *, certain: bool = False) -> ObjectInfo | None:
        """See ObjectStore."""
        return self._call(key, lambda: self._head(key))

    def _head(self, key: str) -> ObjectInfo | None:
        url = self.join(key)
        if not self._file.exists(url) or self._file.is_directory(url):
            return None
        facts = self._file.stat(url)
        return ObjectInfo(key, int(facts.length), "", float(getattr(facts, "mtime_nsec", 0) or 0) / 1e9)

    def _found(self, key: str) -> ObjectInfo:
        info = self._head(key)
        if info is None:
            raise NotFound("no such object", where=self.join(key))
        return info

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See ObjectStore."""

        def request() -> bytes:
            info = self._found(key)
            available = max(0, info.size - start)
            size = available if length is None else min(length, available)
            if not size:
                return b""
            with self._file.File(self.join(key), "rb") as file:
                file.seek(start)
                data = bytes(file.read(size))
            if len(data) != size:
                raise StoreUnreachable(f"{len(data)} of {size} bytes arrived", where=self.join(key))
            return data

        return self._call(key, request)

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

        @contextmanager
        def open_body(start: int) -> Iterator[Body]:
            info = self._once(key, lambda: self._found(key))
            yield Body(info, self._chunks(info, start))

        wanted = Wanted(self.join(key), expect, sha256)
        return download(
            open_body, path, wanted, policy=self._options.backoff, fsync=fsync, on_bytes=on_bytes, pace=pace
        )

    def _chunks(self, info: ObjectInfo, start: int) -> Iterator[bytes]:
        file = self._once(info.key, lambda: self._file.File(self.join(info.key), "rb"))
        try:
            self._once(info.key, lambda: file.seek(start))
            while chunk := self._once(info.key, lambda: bytes(file.read(CHUNK_BYTES))):
                yield chunk
        finally:
            file.close()

    def now(self) -> float:
        """See ObjectStore. moxing hides the store's time; a container that has moxing has the clock of the same cloud."""
        return time.time()

    # -- writing -------------------------------------------------------------------------------------------

    def put(self, key: str, data: bytes, *, confirm: bool = True) -> ObjectInfo:
        """See ObjectStore."""
        check_key(key, self.url)

        def request() -> None:
            self._brake.take(len(data))
            with self._file.File(self.join(key), "wb") as file:
                file.write(data)

        self._call(key, request)
        if not confirm:
            return ObjectInfo(key, len(data))
        return self._confirm(key, len(data), hashlib.sha256(data).hexdigest())

    def put_new(self, key: str, data: bytes) -> bool:
        """See ObjectStore. moxing knows no conditions."""
        raise NoConditionalPut("moxing can't create an object only when there is none", where=self.join(key))

    def put_file(
        self,
        key: str,
        path: Path,
        *,
        length: int | None = None,
        sha256: str | None = None,
        on_bytes: OnBytes | None = None,
    ) -> ObjectInfo:
        """See ObjectStore. Part of a file is read into memory: only logs that grow are sent so."""
        check_key(key, self.url)
        if length is not None:
            with mapped(path), path.open("rb") as file:
                data = file.read(length)
            if len(data) < length:
                raise IntegrityError("the file shrank during the upload", where=str(path))
            if sha256:
                check_sha256(hashlib.sha256(data).hexdigest(), sha256, str(path))
            return self.put(key, data)
        digest, size = hashlib.sha256(), 0
        with mapped(path), path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
        if sha256:
            check_sha256(digest.hexdigest(), sha256, str(path))
        self._brake.take(size)
        self._call(key, lambda: self._file.copy(str(path), self.join(key)))
        info = self._confirm(key, size, digest.hexdigest())
        if on_bytes:
            on_bytes(size)
        return info

    def _confirm(self, key: str, size: int, sha256: str) -> ObjectInfo:
        """Read back what is there now. Raises IntegrityError when it is not what was sent."""
        info = self._call(key, lambda: self._found(key))
        digest = hashlib.sha256()
        for chunk in self._chunks(info, 0):
            digest.update(chunk)
        if info.size != size or digest.hexdigest() != sha256:
            raise IntegrityError(
                f"sent {size} bytes, read back {info.size} that differ",
                where=self.join(key),
                hint="another writer may use the same key, or the file changed during the upload",
            )
        return info

    def delete(self, key: str) -> None:
        """See ObjectStore."""

        def request() -> None:
            if self._file.exists(self.join(key)) and not self._file.is_directory(self.join(key)):
                self._file.remove(self.join(key))

        self._call(key, request)
