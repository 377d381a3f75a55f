"""Uploads that are checked on both sides: Content-MD5 on the way; size, and sha256 or ETag, afterwards.

Each object carries the sha256 of its bytes as metadata, so that readers can verify it whatever its ETag is.

Above MULTIPART_BYTES an object goes up in parts, each with its own MD5; a failure aborts the upload, so that no
invisible parts are left to be paid for (`begun.py`).
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from launcher.disk import CHUNK_BYTES, mapped, md5_of
from launcher.errors import IntegrityError, NotFound
from launcher.storage import brake
from launcher.storage.base import ObjectInfo, OnBytes, check_sha256
from launcher.storage.s3.begun import Begun
from launcher.storage.s3.confirm import Bucket, Sent, check_effect, confirm, have_effect, is_there, sent_bytes
from launcher.storage.s3.facts import SHA256_NAME, foreign_answer
from launcher.threads import Workers

MULTIPART_BYTES = 64 << 20
PART_BYTES = 32 << 20
MAX_PARTS = 9000
PART_THREADS = 3

T = TypeVar("T")


def content_md5(digest_hex: str) -> str:
    """An MD5 as the Content-MD5 header spells it."""
    return base64.b64encode(bytes.fromhex(digest_hex)).decode()


def put_bytes(bucket: Bucket, key: str, data: bytes) -> ObjectInfo:
    """One PUT, then compare. Readers see the old or the new object, never a mixture."""
    return confirm(bucket, _put_once(bucket, key, data))


def send_bytes(bucket: Bucket, key: str, data: bytes) -> ObjectInfo:
    """One PUT, whose answer is believed."""
    return ObjectInfo(key, _put_once(bucket, key, data).size)


def _put_once(bucket: Bucket, key: str, data: bytes) -> Sent:
    """The bytes are compared with their MD5 on the way."""
    sent = sent_bytes(key, data)

    def request(client: Any, names: dict[str, Any]) -> None:
        bucket.brake.take(len(data))
        digest = content_md5(sent.etag)
        answer = client.put_object(**names, Body=data, ContentMD5=digest, Metadata=sent.metadata)
        check_effect(bucket, sent, answer)

    have_effect(bucket, key, request, lambda: is_there(bucket, sent))
    return sent


def put_file(
    bucket: Bucket, key: str, path: Path, length: int | None, sha256: str | None, on_bytes: OnBytes | None
) -> ObjectInfo:
    """Upload a file that must not change meanwhile, or the first `length` bytes of one that grows.

    Metadata can't be added to an upload that has begun, so a file in parts whose `sha256` nobody knows is read twice.
    """
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
            if sha256:
                check_sha256(hashlib.sha256(data).hexdigest(), sha256, str(path))
            info = put_bytes(bucket, key, data)
            if on_bytes:
                on_bytes(size)
            return info
        return _Multipart(bucket, key, size, sha256 or sha256_of(file, size), on_bytes).run(file, unchanged)


def sha256_of(file: BinaryIO, size: int) -> str:
    """The sha256 of a file's first `size` bytes; the file is then at its beginning again."""
    digest, remaining = hashlib.sha256(), size
    while remaining and (chunk := file.read(min(CHUNK_BYTES, remaining))):
        digest.update(chunk)
        remaining -= len(chunk)
    file.seek(0)
    return digest.hexdigest()


@dataclass
class _Multipart:
    """One multipart upload: parts are read in order and sent by a few threads, so memory stays bounded."""

    bucket: Bucket
    key: str
    size: int
    sha256: str
    on_bytes: OnBytes | None
    digests: dict[int, str] = field(default_factory=dict)
    etags: dict[int, str] = field(default_factory=dict)
    counted: set[int] = field(default_factory=set)

    def run(self, file: BinaryIO, unchanged: Callable[[], None]) -> ObjectInfo:
        """Upload the file; once more when somebody aborts the upload meanwhile, as a rule of the bucket may do."""
        try:
            sent = self._try(file, unchanged)
        except NotFound:
            file.seek(0)
            self.digests.clear()
            self.etags.clear()
            sent = self._try(file, unchanged)
        return confirm(self.bucket, sent)

    def _try(self, file: BinaryIO, unchanged: Callable[[], None]) -> Sent:
        upload = Begun(self.bucket, self.key, {SHA256_NAME: self.sha256})
        upload.begin()
        try:
            self._send(file, upload.id)
            unchanged()
            sent = Sent(self.key, self.size, self.sha256, self._etag())
            self._complete(upload.id, sent)
        except BaseException:
            upload.abort()
            raise
        finally:
            upload.abort_unused()
        return sent

    def _send(self, file: BinaryIO, upload: str) -> None:
        """Send all parts. Raises IntegrityError when the bytes are not those of the sha256 that was sent before them."""
        usual = min(PART_BYTES, brake.PART_BYTES) if self.bucket.brake.limited else PART_BYTES
        part_bytes = max(usual, -(-self.size // MAX_PARTS))
        whole = hashlib.sha256()
        with Workers(PART_THREADS, thread_name_prefix="upload") as pool:
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
        check_sha256(whole.hexdigest(), self.sha256, self.bucket.join(self.key))

    def _part(self, upload: str, number: int, data: bytes) -> None:
        digest = md5_of(data)

        def request(client: Any, names: dict[str, Any]) -> str:
            self.bucket.brake.take(len(data))
            answer = client.upload_part(
                **names, UploadId=upload, PartNumber=number, Body=data, ContentMD5=content_md5(digest)
            )
            etag = str(answer.get("ETag") or "").removeprefix("W/")  # of a proxy: the store's own is none
            if not etag.strip('"'):
                raise foreign_answer(self.bucket.join(self.key))
            return etag

        self.etags[number] = self.bucket.with_backoff(self.key, request)
        self.digests[number] = digest
        if self.on_bytes and number not in self.counted:
            self.on_bytes(len(data))
        self.counted.add(number)

    def _complete(self, upload: str, sent: Sent) -> None:
        parts = [{"PartNumber": number, "ETag": self.etags[number]} for number in sorted(self.etags)]

        def request(client: Any, names: dict[str, Any]) -> None:
            wanted = {"Parts": parts}
            answer = client.complete_multipart_upload(**names, UploadId=upload, MultipartUpload=wanted)
            check_effect(self.bucket, sent, answer)

        have_effect(self.bucket, self.key, request, lambda: is_there(self.bucket, sent))

    def _etag(self) -> str:
        joined = b"".join(bytes.fromhex(self.digests[number]) for number in sorted(self.digests))
        return f"{md5_of(joined)}-{len(self.digests)}"
