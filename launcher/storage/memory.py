"""Objects in this process's memory, for tests and rehearsals. Stores of one name share their objects."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from launcher.disk import mapped, md5_of
from launcher.errors import IntegrityError, NotFound
from launcher.storage.base import ObjectInfo, ObjectStore, OnBytes, Pace, check_sha256
from launcher.storage.download import Body, Wanted, download
from launcher.storage.keys import check_key
from launcher.storage.registry import Location, Options


@dataclass
class _Bucket:
    objects: dict[str, tuple[ObjectInfo, bytes]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


_BUCKETS: dict[str, _Bucket] = {}
_BUCKETS_LOCK = threading.Lock()


def open_memory(location: Location, options: Options) -> ObjectStore:
    """For the registry."""
    with _BUCKETS_LOCK:
        bucket = _BUCKETS.setdefault(location.bucket, _Bucket())
    return MemoryStore(location, bucket, options)


class MemoryStore:
    """Behaves like an S3 service without multipart uploads: every ETag is an MD5."""

    def __init__(self, location: Location, bucket: _Bucket, options: Options) -> None:
        self._location = location
        self._bucket = bucket
        self._options = options
        self._base = f"{location.path}/" if location.path else ""

    def __repr__(self) -> str:
        return f"MemoryStore({self.url!r})"

    @property
    def url(self) -> str:
        """See ObjectStore."""
        return f"memory://{self._location.bucket}/{self._location.path}".rstrip("/")

    def join(self, key: str) -> str:
        """See ObjectStore."""
        return f"{self.url}/{key}" if key else self.url

    def substore(self, prefix: str) -> ObjectStore:
        """See ObjectStore."""
        path = check_key(self._base + prefix.strip("/"), self.url)
        return MemoryStore(Location("memory", self._location.bucket, path), self._bucket, self._options)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See ObjectStore."""
        with self._bucket.lock:
            infos = [info for info, _ in self._bucket.objects.values()]
        start = self._base + prefix
        for info in sorted(infos, key=lambda each: each.key):
            if info.key.startswith(start) and info.key != self._base:
                yield self._relative(info)

    def _relative(self, info: ObjectInfo) -> ObjectInfo:
        return ObjectInfo(info.key[len(self._base) :], info.size, info.etag, info.mtime)

    def head(self, key: str, *, certain: bool = False) -> ObjectInfo | None:
        """See ObjectStore."""
        with self._bucket.lock:
            entry = self._bucket.objects.get(self._base + key)
        return self._relative(entry[0]) if entry else None

    def _get(self, key: str) -> tuple[ObjectInfo, bytes]:
        with self._bucket.lock:
            entry = self._bucket.objects.get(self._base + key)
        if entry is None:
            raise NotFound("no such object", where=self.join(key))
        return self._relative(entry[0]), entry[1]

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See ObjectStore."""
        _, data = self._get(key)
        return data[start:] if length is None else data[start : start + length]

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
            info, data = self._get(key)
            yield Body(info, iter([data[start:]]))

        wanted = Wanted(self.join(key), expect, sha256)
        return download(
            open_body, path, wanted, policy=self._options.backoff, fsync=fsync, on_bytes=on_bytes, pace=pace
        )

    def put(self, key: str, data: bytes, *, confirm: bool = True) -> ObjectInfo:
        """See ObjectStore."""
        check_key(key, self.url)
        info = ObjectInfo(self._base + key, len(data), md5_of(data), time.time())
        with self._bucket.lock:
            self._bucket.objects[info.key] = (info, bytes(data))
        return self._relative(info)

    def put_new(self, key: str, data: bytes) -> bool:
        """See ObjectStore."""
        check_key(key, self.url)
        info = ObjectInfo(self._base + key, len(data), md5_of(data), time.time())
        with self._bucket.lock:
            return self._bucket.objects.setdefault(info.key, (info, bytes(data)))[0] is info

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
        with mapped(path):
            data = path.read_bytes()
        if length is not None:
            if len(data) < length:
                raise IntegrityError("the file shrank during the upload", where=str(path))
            data = data[:length]
        if sha256:
            check_sha256(hashlib.sha256(data).hexdigest(), sha256, str(path))
        if on_bytes:
            on_bytes(len(data))
        return self.put(key, data)

    def now(self) -> float:
        """See ObjectStore."""
        return time.time()

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        with self._bucket.lock:
            self._bucket.objects.pop(self._base + key, None)
