"""Reading objects of a bucket: an open body from any byte, large ones in ranges, through the fast path where it works."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from launcher.disk import CHUNK_BYTES
from launcher.errors import IntegrityError, NotFound, StoreError
from launcher.storage.base import ObjectInfo
from launcher.storage.download import Body, check_bytes, too_long
from launcher.storage.ranges import FIRST_BYTES, LARGE_BYTES, Connections, Remainder
from launcher.storage.s3.errors import OutOfRange
from launcher.storage.s3.facts import broken, check_answer, info_of_answer, plain_etag, status_of
from launcher.storage.s3.fast import FastPath, FastPathError
from launcher.storage.s3.kinds import PROXIES
from launcher.storage.s3.requests import Requests

FAST_READS = range(1 << 20, (32 << 20) + 1)
"""Parts of an object of these lengths are read through the fast path. A longer length is the limit of a read whose object is
small as a rule: an absent or empty one would cost a second request there."""
SETTLED_S = 20 * 60.0
"""An object without ETag that is older shows by its time when it is replaced. Stores count whole seconds, and refuse
requests from a machine whose clock is wrong by 15 minutes."""
_PARTIAL = 206
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


@dataclass(frozen=True, slots=True)
class Reads:
    """Reads below one folder of a bucket. `connections` are shared with the other folders of the store."""

    requests: Requests
    fast: FastPath | None
    connections: Connections

    @property
    def _fast_ranges(self) -> FastPath | None:
        """The fast path, when ranges may use it now."""
        return self.fast if self.fast is not None and self.fast.ranges_on else None

    def head(self, key: str, *, certain: bool = False) -> ObjectInfo | None:
        """Facts about an object, or None when there is none. See ObjectStore."""
        fast = None if certain else self.fast
        try:
            info = fast.head(self.requests.base + key) if fast is not None and fast.on else None
            if info is not None:
                return replace(info, key=key)
            return self.head_by_boto3(key)
        except NotFound:
            return None

    def head_by_boto3(self, key: str) -> ObjectInfo:
        """The same; only boto3 shows whether the object is encrypted, its ETag thus no MD5. Raises NotFound."""

        def request(client: Any, names: dict[str, Any]) -> Any:
            answer = client.head_object(**names)
            check_answer(answer, self.requests.join(key))
            return answer

        facts = self.requests.with_backoff(key, request)
        return info_of_answer(key, self._length(key, facts), facts)

    def read_once(self, key: str, start: int, length: int | None) -> bytes:
        """At most `length` bytes from `start`, in one try. A whole object is compared with its digest."""
        fast = self._fast_ranges
        if fast and length is not None and length in FAST_READS:
            fetched = fast.read(self.requests.base + key, start, length)
            if fetched is not None:
                return fetched
        try:
            with self.open(key, start, length) as body:
                data = b"".join(body.chunks)
        except OutOfRange:
            return b""
        available = max(0, body.info.size - start)
        size = available if length is None else min(length, available)
        if len(data) < size:
            raise broken(self.requests.join(key), len(data), size)
        if len(data) > available:
            raise too_long(available, self.requests.join(key))
        if start == 0 and size == body.info.size:
            check_bytes(data, body.info, self.requests.join(key))
        return data[:size]

    @contextmanager
    def open(self, key: str, start: int, length: int | None = None) -> Iterator[Body]:
        """A GET of boto3 whose body starts at `start`, whatever the server makes of the Range header."""
        extra: dict[str, Any] = {}
        if start or length is not None:
            extra["Range"] = f"bytes={start}-" + ("" if length is None else str(start + length - 1))
        answer = self.requests.once(key, lambda client, names: client.get_object(**names, **extra))
        stream, where = answer["Body"], self.requests.join(key)
        try:
            check_answer(answer, where)
            begin = 0
            if content_range := _CONTENT_RANGE.fullmatch(answer.get("ContentRange") or ""):
                begin, total = int(content_range[1]), int(content_range[2])
            elif status_of(answer) == _PARTIAL:
                raise StoreError(
                    f"asked for bytes from {start}, the answer does not tell where its bytes are",
                    where=where,
                    hint=PROXIES,
                )
            else:
                total = self._length(key, answer)
            if begin not in (0, start):
                raise StoreError(
                    f"asked for bytes from {start}, got them from {begin}", where=where, hint=PROXIES
                )
            info = info_of_answer(key, total, answer)
            chunks = self._chunks(key, stream, start - begin)
            yield Body(info, chunks, ranged=content_range is not None, settled=_is_settled(info))
        finally:
            stream.close()

    @contextmanager
    def open_large(self, key: str, start: int, expect: ObjectInfo | None) -> Iterator[Body]:
        """The same, over several connections when much is to come and a later version would show in each answer."""
        large = expect is not None and expect.size - start >= LARGE_BYTES
        connections = self.connections.take() if large else 0
        try:
            if connections:
                with self._begin(key, start, expect) as first:
                    if first.ranged and first.settled:
                        source = _Version(self, key, first)
                        begin = min(start + FIRST_BYTES, first.info.size)
                        rest = Remainder(source, begin, first.info.size, connections)
                        yield replace(first, remainder=rest)
                        return
                    if not first.ranged:  # a store that knows no ranges sends the whole object
                        yield first
                        return
            with self.open(key, start) as body:
                yield body
        finally:
            self.connections.give_back(connections)

    @contextmanager
    def _begin(self, key: str, start: int, expect: ObjectInfo | None) -> Iterator[Body]:
        """The first bytes from `start`. Only boto3 tells whether an ETag with the form of an MD5 is one."""
        answer, fast = None, self._fast_ranges
        if fast and expect is not None and expect.md5 is None:
            answer = fast.begin(self.requests.base + key, start, FIRST_BYTES)
        if answer is None or (answer[0].md5 is not None and not answer[0].sha256):
            with self.open(key, start, FIRST_BYTES) as body:
                yield body
            return
        info = replace(answer[0], key=key)
        yield Body(info, iter([answer[1]]), ranged=True, settled=_is_settled(info))

    def range_of(
        self, key: str, first: Body, start: int, length: int, stop: threading.Event
    ) -> Iterator[bytes]:
        """A range of the version of `first`; boto3 fetches what the fast path could not."""
        received, fast = 0, self._fast_ranges
        if fast:
            try:
                for chunk in fast.read_range(self.requests.base + key, first.info, start, length):
                    received += len(chunk)
                    yield chunk
                    if stop.is_set():
                        break
            except FastPathError:
                pass
        if received == length:
            return
        where = self.requests.join(key)
        if stop.is_set():
            raise broken(where, received, length)
        with self.open(key, start + received, length - received) as body:
            if body.version != first.version or not body.ranged:
                raise IntegrityError("the object changed during the download", where=where)
            for chunk in body.chunks:
                received += len(chunk)
                yield chunk
                if stop.is_set():
                    break
        if received != length:
            raise broken(where, received, length)

    def _length(self, key: str, answer: dict[str, Any]) -> int:
        """The object's size: by the answer, and for one in chunks, which states none, by the listing of the same version."""
        length = answer.get("ContentLength")
        if isinstance(length, int) and length >= 0:
            return length
        listed = self._listed(key)
        if listed is None or listed.etag != plain_etag(answer.get("ETag")):
            where = self.requests.join(key)
            raise StoreError("the store does not tell how long the object is", where=where)
        return listed.size

    def _listed(self, key: str) -> ObjectInfo | None:
        """An object as the listing shows it, or None when that does not name it."""

        def request(client: Any, names: dict[str, Any]) -> ObjectInfo | None:
            found = client.list_objects(Bucket=names["Bucket"], Prefix=names["Key"], MaxKeys=1)
            entries = (each for each in found.get("Contents") or [] if each["Key"] == names["Key"])
            return next((info_of_answer(key, int(each["Size"]), each) for each in entries), None)

        return self.requests.with_backoff(key, request)

    def is_version(self, key: str, expect: ObjectInfo, info: ObjectInfo) -> bool:
        """Whether an answer is about the version `expect` although its ETag is another one.

        Some stores show an object with one ETag in listings, or to a HEAD, and with another one to a GET, such as MinIO with
        encryption. Then what was asked before still shows the same ETag, and the time of modification of the answer.
        """
        for look in (self._listed, self.head):
            now = look(key) if info.mtime else None
            if now is not None and (now.size, now.etag) == (expect.size, expect.etag):
                if int(now.mtime) != int(info.mtime):
                    return False
                if self.fast is not None:
                    self.fast.opaque += 1
                return True
        return False

    def _chunks(self, key: str, stream: Any, skip: int) -> Iterator[bytes]:
        while True:
            try:
                chunk = stream.read(CHUNK_BYTES)
            except Exception as error:
                raise self.requests.mapped(error, key) from error
            if not chunk:
                return
            if skip:
                skip, chunk = skip - min(skip, len(chunk)), chunk[skip:]
            if chunk:
                yield chunk


@dataclass(frozen=True, slots=True)
class _Version:
    """A RangeSource: the version of an object that its first answer showed."""

    reads: Reads
    key: str
    first: Body

    def read(self, start: int, length: int, stop: threading.Event) -> Iterator[bytes]:
        """See RangeSource."""
        return self.reads.range_of(self.key, self.first, start, length, stop)

    def confirm(self) -> None:
        """See RangeSource. An object without ETag is looked at once more."""
        info = self.first.info
        if info.etag:
            return
        now = self.reads.head(self.key)
        if now is None or (now.size, now.mtime) != (info.size, info.mtime):
            where = self.reads.requests.join(self.key)
            raise IntegrityError("the object changed during the download", where=where)


def _is_settled(info: ObjectInfo) -> bool:
    """Whether a later version of the object would show."""
    return bool(info.etag) or 0 < info.mtime < time.time() - SETTLED_S
