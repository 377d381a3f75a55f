"""Uploads that are checked on both sides: Content-MD5 on the way, ETag and size afterwards.

Above MULTIPART_BYTES an object goes up in parts, each with its own MD5; a failure aborts the upload, so that no
invisible parts are left to be paid for.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from launcher.disk import mapped, md5_of
from launcher.errors import IntegrityError, StoreError, StoreUnreachable
from launcher.storage import brake
from launcher.storage.base import ObjectInfo, OnBytes, Pace
from launcher.storage.brake import Brake

MULTIPART_BYTES = 64 << 20
PART_BYTES = 32 << 20
MAX_PARTS = 9000
PART_THREADS = 3

T = TypeVar("T")


class Bucket(Protocol):
    """What an upload needs of its store."""

    brake: Brake

    def once(self, key: str, request: Callable[[Any, dict[str, Any]], T]) -> T:
        """One request."""

    def with_backoff(
        self, key: str, request: Callable[[Any, dict[str, Any]], T], pace: Pace | None = None
    ) -> T:
        """One request, repeated after failures."""

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """The object's bytes."""

    def head(self, key: str) -> ObjectInfo | None:
        """The object's facts."""

    def join(self, key: str) -> str:
        """The URL of a key."""


def broken(where: str, size: int, wanted: int) -> StoreUnreachable:
    """The error for a body that ended early."""
    return StoreUnreachable(f"the connection ended after {size} of {wanted} bytes", where=where)


def content_md5(digest_hex: str) -> str:
    """An MD5 as the Content-MD5 header spells it."""
    return base64.b64encode(bytes.fromhex(digest_hex)).decode()


def put_bytes(bucket: Bucket, key: str, data: bytes) -> ObjectInfo:
    """One PUT, then compare. Readers see the old or the new object, never a mixture."""
    digest = md5_of(data)

    def request(client: Any, names: dict[str, Any]) -> None:
        bucket.brake.take(len(data))
        client.put_object(**names, Body=data, ContentMD5=content_md5(digest))

    bucket.with_backoff(key, request)
    return confirm(bucket, key, len(data), {digest})


def put_file(
    bucket: Bucket, key: str, path: Path, length: int | None, on_bytes: OnBytes | None
) -> ObjectInfo:
    """Upload a file that must not change meanwhile, or the first `length` bytes of one that grows."""
    with mapped(path), path.open("rb") as file:
        before = os.fstat(file.fileno())
        size = before.st_size if length is None else length

        def unchanged() -> None:
            after = os.fstat(file.fileno())
            moved = (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns)
            if after.st_size < size or (length is None and moved):
                raise IntegrityError("the file changed during the upload", where=str(path))

        if size <= (min(MULTIPART_BYTES, brake.PART_BYTES) if bucket.brake.limited else MULTIPART_BYTES):
            data = file.read(size)
            unchanged()
            info = put_bytes(bucket, key, data)
            if on_bytes:
                on_bytes(size)
            return info
        return _Multipart(bucket, key, size, on_bytes).run(file, unchanged)


def confirm(bucket: Bucket, key: str, size: int, etags: set[str]) -> ObjectInfo:
    """Compare the object in the store with what was sent. Raises IntegrityError when it is not what was sent."""
    info = bucket.head(key)
    if info is None or info.size != size:
        actual = "nothing" if info is None else f"{info.size} bytes"
        raise IntegrityError(f"sent {size} bytes, the store holds {actual}", where=bucket.join(key))
    comparable = info.md5 is not None or "-" in info.etag
    if comparable and info.etag not in etags and any(("-" in etag) == ("-" in info.etag) for etag in etags):
        raise IntegrityError(
            f"the store's ETag {info.etag} is not that of the bytes sent",
            where=bucket.join(key),
            hint="another writer may use the same key; a bucket encrypted with KMS keys also does this",
        )
    return info


@dataclass
class _Multipart:
    """One multipart upload: parts are read in order and sent by a few threads, so memory stays bounded."""

    bucket: Bucket
    key: str
    size: int
    on_bytes: OnBytes | None
    digests: dict[int, str] = field(default_factory=dict)
    etags: dict[int, str] = field(default_factory=dict)

    def run(self, file: BinaryIO, unchanged: Callable[[], None]) -> ObjectInfo:
        upload: str = self.bucket.with_backoff(
            self.key, lambda client, names: client.create_multipart_upload(**names)["UploadId"]
        )
        try:
            whole = self._send(file, upload)
            unchanged()
            self._complete(upload)
        except BaseException:
            with suppress(StoreError):
                self.bucket.with_backoff(
                    self.key, lambda client, names: client.abort_multipart_upload(**names, UploadId=upload)
                )
            raise
        return confirm(self.bucket, self.key, self.size, {whole, self._etag()})

    def _send(self, file: BinaryIO, upload: str) -> str:
        """Send all parts; returns the MD5 of the whole, which some stores use as ETag."""
        usual = min(PART_BYTES, brake.PART_BYTES) if self.bucket.brake.limited else PART_BYTES
        part_bytes = max(usual, -(-self.size // MAX_PARTS))
        whole = hashlib.md5(usedforsecurity=False)
        with ThreadPoolExecutor(PART_THREADS, thread_name_prefix="upload") as pool:
            pending: set[Future[None]] = set()
            remaining, number = self.size, 0
            while remaining:
                data = file.read(min(part_bytes, remaining))
                if not data:
                    raise IntegrityError(
                        "the file shrank during the upload", where=self.bucket.join(self.key)
                    )
                whole.update(data)
                remaining, number = remaining - len(data), number + 1
                pending.add(pool.submit(self._part, upload, number, data))
                if len(pending) >= PART_THREADS:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
            for future in pending:
                future.result()
        return whole.hexdigest()

    def _part(self, upload: str, number: int, data: bytes) -> None:
        digest = md5_of(data)

        def request(client: Any, names: dict[str, Any]) -> str:
            self.bucket.brake.take(len(data))
            answer = client.upload_part(
                **names, UploadId=upload, PartNumber=number, Body=data, ContentMD5=content_md5(digest)
            )
            return str(answer["ETag"])

        self.etags[number] = self.bucket.with_backoff(self.key, request)
        self.digests[number] = digest
        if self.on_bytes:
            self.on_bytes(len(data))

    def _complete(self, upload: str) -> None:
        parts = [{"PartNumber": number, "ETag": self.etags[number]} for number in sorted(self.etags)]
        self.bucket.with_backoff(
            self.key,
            lambda client, names: client.complete_multipart_upload(
                **names, UploadId=upload, MultipartUpload={"Parts": parts}
            ),
        )

    def _etag(self) -> str:
        joined = b"".join(bytes.fromhex(self.digests[number]) for number in sorted(self.digests))
        return f"{md5_of(joined)}-{len(self.digests)}"
