"""S3 and every service that speaks it, Huawei OBS included.

- Listing uses the first version of the call: some stores answer the second one as if it were the first, and
  clients then stop after 1,000 keys without an error. Each page must advance, or the listing is refused.
- Downloads go through obstore first (`fast.py`); boto3 is the fallback, and makes all uploads.
- Every request is repeated here and nowhere else (`backoff.py`); each upload carries a Content-MD5, and what the
  store says it holds afterwards is compared.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from launcher.errors import NotFound, StoreUnreachable
from launcher.storage.backoff import BackoffPolicy, with_backoff
from launcher.storage.base import ObjectInfo, ObjectStore, OnBytes, Pace
from launcher.storage.brake import Brake
from launcher.storage.download import Wanted, can_resume, download
from launcher.storage.keys import check_key
from launcher.storage.ranges import Connections
from launcher.storage.registry import Location, Options
from launcher.storage.s3.client import ClientHolder, resolve
from launcher.storage.s3.facts import foreign_answer, status_of, time_of_answer
from launcher.storage.s3.fast import FastPath, fast_wanted
from launcher.storage.s3.listing import Listing
from launcher.storage.s3.pages import PAGE_KEYS, Page, ask_boto3
from launcher.storage.s3.reads import Reads
from launcher.storage.s3.requests import Requests

_DELETED = 204

T = TypeVar("T")


def open_s3(location: Location, options: Options) -> ObjectStore:
    """For the registry. Contacts nobody. obs:// may be asked to go through moxing instead."""
    if location.scheme == "obs":
        from launcher.storage.moxing import CLIENT_VARIABLE, moxing_wanted, open_moxing

        if moxing_wanted(os.environ.get(CLIENT_VARIABLE, "")):
            return open_moxing(location, options)
    target = resolve(location, options)
    holder = ClientHolder(target, options)
    fast = FastPath(holder, location.bucket, options.backoff) if fast_wanted(os.environ) else None
    requests = Requests(location, options, holder, target.edge)
    return S3Store(requests, fast, Connections(), Brake(options.upload_bytes_per_s))


class S3Store:
    """A bucket, or a folder of one. Folders share client, fast path, connections and brake with their store."""

    def __init__(
        self, requests: Requests, fast: FastPath | None, connections: Connections, brake: Brake
    ) -> None:
        self._requests = requests
        self._fast = fast
        self._connections = connections
        self._reads = Reads(requests, fast, connections)
        self.brake = brake

    def __repr__(self) -> str:
        return f"S3Store({self.url!r}, endpoint={self._requests.edge.endpoint!r})"

    @property
    def url(self) -> str:
        """See ObjectStore."""
        return self._requests.url

    def join(self, key: str) -> str:
        """See ObjectStore."""
        return self._requests.join(key)

    def substore(self, prefix: str) -> ObjectStore:
        """See ObjectStore."""
        own = self._requests
        path = check_key(own.base + prefix.strip("/"), self.url)
        location = Location(own.location.scheme, own.location.bucket, path)
        requests = Requests(location, own.options, own.holder, own.edge)
        return S3Store(requests, self._fast, self._connections, self.brake)

    # -- reading -------------------------------------------------------------------------------------------

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See ObjectStore."""
        base = self._requests.base
        listing = Listing(self._page, base + prefix, self.join(prefix))
        with closing(listing.objects()) as objects:
            for key, size, etag, mtime in objects:
                if key != base or size:  # the folder's own marker is nothing, unless it holds bytes
                    yield ObjectInfo(key[len(base) :], size, etag, mtime)

    def _page(self, prefix: str, marker: str, delimiter: str, pace: Pace) -> Page:
        """A FetchPage: `prefix` and `marker` are those of the bucket."""
        if self._fast is not None and self._fast.on:
            page = self._fast.page(prefix, marker, delimiter)
            if page is not None:
                return page
            if pace.stop.is_set():
                raise StoreUnreachable("stopped", where=self.url)
        only = {"Delimiter": delimiter} if delimiter else {}
        key = prefix[len(self._requests.base) :]

        def request(client: Any, names: dict[str, Any]) -> Page:
            names = {
                "Bucket": names["Bucket"],
                "Prefix": prefix,
                "Marker": marker,
                "MaxKeys": PAGE_KEYS,
                **only,
            }
            return ask_boto3(client, self.join(key), **names)

        return self.with_backoff(key, request, pace)

    @property
    def policy(self) -> BackoffPolicy:
        """How often a request is repeated."""
        return self._requests.options.backoff

    def head(self, key: str, *, certain: bool = False) -> ObjectInfo | None:
        """See ObjectStore."""
        return self._reads.head(key, certain=certain)

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See ObjectStore. A whole object is compared with its digest."""
        if length == 0:
            return b""
        policy = self._requests.options.backoff
        return with_backoff(policy, lambda: self._reads.read_once(key, start, length))

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
        """See ObjectStore. Small objects of known size go through the fast path first."""
        wrong_digest = False
        if self._fast is not None and expect is not None and self._fast.usable(expect.size):
            key_of_bucket = self._requests.base + key
            tried = self._fast.fetch(key_of_bucket, os.fspath(path), expect, sha256, fsync=fsync, pace=pace)
            if isinstance(tried, ObjectInfo):
                if on_bytes:
                    on_bytes(tried.size)
                return tried
            wrong_digest = tried.wrong_digest
        expect = self._with_digest(key, path, expect)
        is_version = None if expect is None else partial(self._reads.is_version, key, expect)
        info = download(
            lambda start: self._reads.open_large(key, start, expect),
            path,
            Wanted(self.join(key), expect, sha256, is_version),
            policy=self._requests.options.backoff,
            fsync=fsync,
            on_bytes=on_bytes,
            pace=pace,
        )
        if self._fast is not None and wrong_digest:
            self._fast.digest_was_wrong()
        return info

    def _with_digest(self, key: str, path: Path | str, expect: ObjectInfo | None) -> ObjectInfo | None:
        """Look for the digest that was stored with an object, where only that can prove the part of an earlier download."""
        if expect is None or expect.md5 or expect.sha256 or not can_resume(path):
            return expect
        info = self.head(key)
        same = info is not None and (info.size, info.etag) == (expect.size, expect.etag)
        return replace(expect, sha256=info.sha256) if info is not None and same else expect

    def now(self) -> float:
        """See ObjectStore. The Date of an answer to a short listing; in whole seconds. Raises StoreError."""

        def request(client: Any, names: dict[str, Any]) -> Any:
            return client.list_objects(Bucket=names["Bucket"], Prefix=names["Key"], MaxKeys=1)

        return time_of_answer(self.with_backoff("", request), self.url)

    # -- writing: its modules are imported on first use, since most processes only read --------------------

    def once(self, key: str, request: Callable[[Any, dict[str, Any]], T]) -> T:
        """See Requests."""
        return self._requests.once(key, request)

    def with_backoff(
        self, key: str, request: Callable[[Any, dict[str, Any]], T], pace: Pace | None = None
    ) -> T:
        """See Requests."""
        return self._requests.with_backoff(key, request, pace)

    def put(self, key: str, data: bytes, *, confirm: bool = True) -> ObjectInfo:
        """See ObjectStore."""
        from launcher.storage.s3 import upload as s3_upload

        check_key(key, self.url)
        if not confirm:
            return s3_upload.send_bytes(self, key, data)
        return s3_upload.put_bytes(self, key, data)

    def put_new(self, key: str, data: bytes) -> bool:
        """See ObjectStore. A PUT with `If-None-Match: *`."""
        from launcher.storage.s3.conditional import ConditionalPut

        check_key(key, self.url)
        own = self._requests
        return ConditionalPut(self, own.holder).put(key, data)

    def put_file(
        self,
        key: str,
        path: Path,
        *,
        length: int | None = None,
        sha256: str | None = None,
        on_bytes: OnBytes | None = None,
    ) -> ObjectInfo:
        """See ObjectStore. Multipart above `s3_upload.MULTIPART_BYTES`."""
        from launcher.storage.s3 import upload as s3_upload

        check_key(key, self.url)
        return s3_upload.put_file(self, key, path, length, sha256, on_bytes)

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        from launcher.storage.s3.confirm import have_effect, is_gone

        def request(client: Any, names: dict[str, Any]) -> None:
            if status_of(client.delete_object(**names)) != _DELETED and not is_gone(self, key):
                raise foreign_answer(self.join(key))

        try:
            have_effect(self, key, request, lambda: is_gone(self, key))
        except NotFound:
            return
