"""S3 and everything that speaks it, Huawei OBS included, through boto3.

- Listing uses the first version of the call: some stores answer the second one as if it were the first, and
  clients then stop after 1,000 keys without an error. Each page must advance, or the listing is refused.
- Every request is retried here and nowhere else (`backoff.py`); each upload carries a Content-MD5, and what the
  store says it holds afterwards is compared.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

from launcher.disk import CHUNK_BYTES, md5_of
from launcher.errors import IntegrityError, NotFound, StoreError, StoreUnreachable
from launcher.storage.backoff import with_backoff
from launcher.storage.base import ObjectInfo, ObjectStore, OnBytes, Pace
from launcher.storage.brake import Brake
from launcher.storage.download import Body, Wanted, download
from launcher.storage.keys import check_key
from launcher.storage.moxing import CLIENT_VARIABLE, moxing_wanted, open_moxing
from launcher.storage.ranges import FIRST_BYTES, LARGE_BYTES, Lanes, Rest, Target, pour
from launcher.storage.registry import Location, Options
from launcher.storage.s3 import upload as s3_upload
from launcher.storage.s3.client import ClientHolder, resolve
from launcher.storage.s3.errors import OutOfRange, map_error
from launcher.storage.s3.fast import FastGets, encrypted, fast_info, fast_wanted, http_time
from launcher.storage.s3.listing import PAGE_KEYS, Listing, Page, page_of

T = TypeVar("T")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
FAST_READ_BYTES = 1 << 20
"""From this length a part of an object is worth asking for on a connection of our own."""
SETTLED_S = 2.0
"""An object without ETag that is older shows by its time when it is replaced: such times are whole seconds."""


def open_s3(location: Location, options: Options) -> ObjectStore:
    """For the registry. Contacts nobody. obs:// may be asked to go through moxing instead."""
    if location.scheme == "obs" and moxing_wanted(os.environ.get(CLIENT_VARIABLE, "")):
        return open_moxing(location, options)
    target = resolve(location, options)
    holder = ClientHolder(target, options)
    fast = FastGets(holder, location.bucket, options.backoff) if fast_wanted(os.environ) else None
    return S3Store(location, options, holder, target.edge, fast)


class S3Store:
    """A bucket, or a folder of one."""

    def __init__(
        self,
        location: Location,
        options: Options,
        holder: ClientHolder,
        edge: Any,
        fast: FastGets | None = None,
        lanes: Lanes | None = None,
        brake: Brake | None = None,
    ) -> None:
        self._location = location
        self._options = options
        self._holder = holder
        self._edge = edge
        self._fast = fast
        self._lanes = lanes or Lanes()
        self.brake = brake or Brake(options.upload_bytes_per_s)
        self._base = f"{location.path}/" if location.path else ""

    def __repr__(self) -> str:
        return f"S3Store({self.url!r}, endpoint={self._edge.endpoint!r})"

    @property
    def url(self) -> str:
        """See ObjectStore."""
        return f"{self._location.scheme}://{self._location.bucket}/{self._location.path}".rstrip("/")

    def join(self, key: str) -> str:
        """See ObjectStore."""
        return f"{self.url}/{key}" if key else self.url

    def substore(self, prefix: str) -> ObjectStore:
        """See ObjectStore."""
        path = check_key(self._base + prefix.strip("/"), self.url)
        location = Location(self._location.scheme, self._location.bucket, path)
        return S3Store(location, self._options, self._holder, self._edge, self._fast, self._lanes, self.brake)

    # -- requests ------------------------------------------------------------------------------------------

    def once(self, key: str, request: Callable[[Any, dict[str, Any]], T]) -> T:
        """One request, its errors mapped. `request` gets the client and the Bucket and Key arguments."""
        try:
            names = {"Bucket": self._location.bucket, "Key": self._base + key}
            return request(self._holder.get(), names)
        except Exception as error:  # every foreign error has its place in our tree
            raise map_error(error, self.join(key), self._edge) from error

    def retried(self, key: str, request: Callable[[Any, dict[str, Any]], T], pace: Pace | None = None) -> T:
        """`once`, again and again within the policy."""
        return with_backoff(self._options.backoff, lambda: self.once(key, request), pace)

    # -- reading -------------------------------------------------------------------------------------------

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See ObjectStore."""
        listing = Listing(self._page, self._base + prefix, self.join(prefix))
        cut = len(self._base)
        with closing(listing.entries()) as entries:
            for key, size, etag, mtime in entries:
                if key != self._base:
                    yield ObjectInfo(key[cut:], size, etag, mtime)

    def _page(self, prefix: str, marker: str, delimiter: str, pace: Pace) -> Page:
        if self._fast is not None and self._fast.on:
            page = self._fast.page(prefix, marker, delimiter)
            if page is not None:
                return page
            if pace.stop.is_set():
                raise StoreUnreachable("stopped", where=self.url)
        only = {"Delimiter": delimiter} if delimiter else {}
        where = self.join(prefix[len(self._base) :])

        def request(client: Any, names: dict[str, Any]) -> Page:
            names = {"Bucket": names["Bucket"], "Prefix": prefix, "Marker": marker, **only}
            return page_of(client.list_objects(**names, MaxKeys=PAGE_KEYS), where)

        return self.retried(prefix[len(self._base) :], request, pace)

    @staticmethod
    def _info(key: str, size: int, facts: dict[str, Any]) -> ObjectInfo:
        stamp = facts.get("LastModified")
        return ObjectInfo(
            key, size, (facts.get("ETag") or "").strip('"'), stamp.timestamp() if stamp else 0.0
        )

    def head(self, key: str) -> ObjectInfo | None:
        """See ObjectStore."""
        if self._fast is not None and self._fast.on:
            head = self._fast.head(self._base + key)
            if head is not None:
                return None if head.status == 404 else fast_info(key, head, head.length or 0)
        try:
            facts = self.retried(key, lambda client, names: client.head_object(**names))
        except NotFound:
            return None
        return self._info(key, self._length(key, facts), facts)

    def _length(self, key: str, facts: dict[str, Any]) -> int:
        length = facts.get("ContentLength")
        if not isinstance(length, int) or length < 0:
            raise StoreError("the store does not tell how long the object is", where=self.join(key))
        return length

    @contextmanager
    def _get(self, key: str, start: int, length: int | None = None) -> Iterator[Body]:
        """A GET whose body starts at `start`, whatever the server makes of the Range header."""
        extra: dict[str, Any] = {}
        if start or length is not None:
            extra["Range"] = f"bytes={start}-" + ("" if length is None else str(start + length - 1))
        answer = self.once(key, lambda client, names: client.get_object(**names, **extra))
        stream = answer["Body"]
        try:
            begin, total = 0, self._length(key, answer)
            if found := _CONTENT_RANGE.fullmatch(answer.get("ContentRange") or ""):
                begin, total = int(found[1]), int(found[2])
            if begin not in (0, start):
                raise StoreError(f"asked for bytes from {start}, got them from {begin}", where=self.join(key))
            info = self._info(key, total, answer)
            secret = "kms" in str(answer.get("ServerSideEncryption", "")).lower()
            secret |= bool(answer.get("SSECustomerAlgorithm"))
            chunks = self._chunks(key, stream, start - begin)
            settled = _settled(info, answer["ResponseMetadata"]["HTTPHeaders"].get("date", ""))
            yield Body(info, chunks, None if secret else info.md5, found is not None, settled)
        finally:
            stream.close()

    @contextmanager
    def _get_wide(self, key: str, start: int, expect: ObjectInfo | None) -> Iterator[Body]:
        """The same, over several connections when much is to come and each answer shows which version it is of."""
        large = expect is not None and expect.size - start >= LARGE_BYTES
        lanes = self._lanes.take() if large else 0
        try:
            if not lanes:
                with self._get(key, start) as body:
                    yield body
                return
            with self._begin(key, start) as first:
                if first.ranged and first.settled:
                    begin = min(start + FIRST_BYTES, first.info.size)
                    fetch, check = partial(self._stretch, key, first), partial(self._unchanged, key, first)
                    yield replace(first, rest=Rest(fetch, begin, first.info.size, lanes, check))
                    return
                if not first.ranged:  # a store that knows no ranges sends the whole object
                    yield first
                    return
            with self._get(key, start) as body:
                yield body
        finally:
            self._lanes.give(lanes)

    @contextmanager
    def _begin(self, key: str, start: int) -> Iterator[Body]:
        """The first bytes from `start`."""
        fast = self._fast
        begun = fast.begin(self._base + key, start, FIRST_BYTES) if fast is not None and fast.on else None
        if begun is None:
            with self._get(key, start, FIRST_BYTES) as body:
                yield body
            return
        head, total, data = begun
        info = fast_info(key, head, total)
        md5 = None if encrypted(head) else info.md5
        yield Body(info, iter([data]), md5, ranged=True, settled=_settled(info, head.field("date")))

    def _unchanged(self, key: str, first: Body) -> None:
        """Without ETags the object is looked at once more, last of all. Raises IntegrityError."""
        if first.info.etag:
            return
        now = self.head(key)
        if now is None or (now.size, now.mtime) != (first.info.size, first.info.mtime):
            raise IntegrityError("the object changed during the download", where=self.join(key))

    def _stretch(
        self,
        key: str,
        first: Body,
        start: int,
        length: int,
        target: Callable[[], Target],
        stop: threading.Event,
    ) -> None:
        fast = self._fast
        if (
            fast is not None
            and fast.on
            and fast.stretch(self._base + key, first.info, start, length, target(), stop)
        ):
            return
        if stop.is_set():
            raise s3_upload.broken(self.join(key), 0, length)
        have, goal = 0, target()
        with self._get(key, start, length) as body:
            if body.version != first.version or not body.ranged:
                raise IntegrityError("the object changed during the download", where=self.join(key))
            for chunk in takewhile(lambda _: not stop.is_set(), body.chunks):
                have += len(chunk)
                pour(chunk, goal)
        if have != length:
            raise s3_upload.broken(self.join(key), have, length)

    def _chunks(self, key: str, stream: Any, skip: int) -> Iterator[bytes]:
        while True:
            try:
                chunk = stream.read(CHUNK_BYTES)
            except Exception as error:
                raise map_error(error, self.join(key), self._edge) from error
            if not chunk:
                return
            if skip:
                skip, chunk = skip - min(skip, len(chunk)), chunk[skip:]
            if chunk:
                yield chunk

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See ObjectStore. A whole object is checked against its MD5."""
        if length == 0:
            return b""
        return with_backoff(self._options.backoff, lambda: self._read_once(key, start, length))

    def _read_once(self, key: str, start: int, length: int | None) -> bytes:
        if self._fast is not None and self._fast.on and length is not None and length >= FAST_READ_BYTES:
            fetched = self._fast.read(self._base + key, start, length)
            if fetched is not None:
                return fetched
        try:
            with self._get(key, start, length) as body:
                data = b"".join(body.chunks)
        except OutOfRange:
            return b""
        wanted = (
            max(0, body.info.size - start) if length is None else min(length, max(0, body.info.size - start))
        )
        if len(data) < wanted:
            raise s3_upload.broken(self.join(key), len(data), wanted)
        whole = start == 0 and wanted == body.info.size
        if whole and body.md5 is not None and md5_of(data) != body.md5:
            raise IntegrityError("the content does not match its ETag (MD5)", where=self.join(key))
        return data[:wanted]

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
        """See ObjectStore. Small objects of known size go through the fast engine first."""
        refused = False
        if self._fast is not None and expect is not None and self._fast.usable(expect.size):
            tried = self._fast.fetch(
                self._base + key, os.fspath(path), expect, sha256, fsync=fsync, pace=pace
            )
            if isinstance(tried, ObjectInfo):
                if on_bytes:
                    on_bytes(tried.size)
                return tried
            refused = tried.digest
        info = download(
            lambda start: self._get_wide(key, start, expect),
            path,
            Wanted(self.join(key), expect, sha256),
            policy=self._options.backoff,
            fsync=fsync,
            on_bytes=on_bytes,
            pace=pace,
        )
        if self._fast is not None and refused:
            self._fast.was_right()
        return info

    # -- writing -------------------------------------------------------------------------------------------

    def put(self, key: str, data: bytes) -> ObjectInfo:
        """See ObjectStore."""
        check_key(key, self.url)
        return s3_upload.put_bytes(self, key, data)

    def put_file(
        self, key: str, path: Path, *, length: int | None = None, on_bytes: OnBytes | None = None
    ) -> ObjectInfo:
        """See ObjectStore. Multipart above `s3_upload.MULTIPART_BYTES`."""
        check_key(key, self.url)
        return s3_upload.put_file(self, key, path, length, on_bytes)

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        try:
            self.retried(key, lambda client, names: client.delete_object(**names))
        except NotFound:
            return


def _settled(info: ObjectInfo, date: str) -> bool:
    """Whether another version of the object would show. `date` is when the store answered."""
    return bool(info.etag) or 0 < info.mtime < http_time(date) - SETTLED_S
