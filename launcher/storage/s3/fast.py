"""The fast path: objects through obstore, a library in Rust, for a sixth of the CPU time that boto3 takes per small object.

It makes one request and compares size, ETag and digest. Anything that is not plainly right is left to the fallback, boto3,
which repeats, resumes, and reports what is wrong in words.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from launcher.disk import md5_of
from launcher.errors import IntegrityError, NotFound, StoreUnreachable, UsageError
from launcher.storage.backoff import Backoff, BackoffPolicy
from launcher.storage.base import ObjectInfo, Pace
from launcher.storage.download import check_bytes
from launcher.storage.s3 import client as s3_client
from launcher.storage.s3.facts import info_of_answer, info_of_obstore, stored_sha256
from launcher.storage.s3.health import Health
from launcher.storage.s3.interruptible import interruptible
from launcher.storage.s3.keyfile import Keys
from launcher.storage.s3.listing import PARALLEL_PIECES
from launcher.storage.s3.obstore_client import ObstoreClient, Whole, open_obstore, write_body
from launcher.storage.s3.pages import Page, PageClient
from launcher.storage.s3.route import NoRoute, find_route

log = logging.getLogger(__name__)

ENGINES = ("auto", "boto3")
ENGINE_VARIABLE = "LAUNCHER_S3_ENGINE"
WHOLE_BYTES = 2 << 20
"""Objects up to this size are held in memory as a whole, one per worker."""
CHUNK_BYTES = 256 << 10
"""Longer ones come in chunks of at least this size: obstore copies what it has to put together."""
WRONG_DIGESTS = 3
"""After so many wrong digests that the fallback did not confirm, everything goes to the fallback."""
OPAQUE_OBJECTS = 3
"""After so many objects about which boto3 had to be asked whether they are encrypted, objects go to the fallback at once:
that is one request per object in place of two."""
LOOK_S = 0.1
"""Small objects come with keys that were looked at within this time: to look before each costs as much as to write it."""
FAILURES = 24
RANGE_FAILURES = 4
"""After so many failures in a row everything, or all ranges, go to the fallback for a while. Ranges are counted apart: some
servers answer them with status 200, which obstore refuses."""


def fast_wanted(env: Mapping[str, str]) -> bool:
    """Whether the fast path may be used. Raises UsageError for a word that is no engine."""
    word = env.get(ENGINE_VARIABLE) or "auto"
    if word not in ENGINES:
        raise UsageError(f"{ENGINE_VARIABLE}={word}", hint=f"one of {', '.join(ENGINES)}")
    return word == "auto"


@dataclass(frozen=True, slots=True)
class Miss:
    """The fallback is needed. `wrong_digest` is True when size and ETag were right and the bytes were not."""

    wrong_digest: bool = False


def _is_plainly(answer: Whole, expect: ObjectInfo, sha256: str | None) -> bool:
    """Whether the answer is the object that was expected by its ETag alone, as nearly all of a million are."""
    return (
        answer.data is not None
        and not sha256
        and answer.meta["e_tag"] == f'"{expect.etag}"'
        and expect.md5 is not None
        and not stored_sha256(answer.attributes)
        and len(answer.data) == expect.size
        and md5_of(answer.data) == expect.etag
    )


class FastPathError(Exception):
    """A range could not be read, or not in full, or not of the right version."""


@dataclass(frozen=True, slots=True)
class _Clients:
    """Both clients of a bucket."""

    objects: ObstoreClient
    pages: PageClient
    keys: Keys | None


class FastPath:
    """Requests to one bucket. Any thread may use it; in a forked child everything goes to the fallback."""

    def __init__(self, holder: s3_client.ClientHolder, bucket: str, policy: BackoffPolicy) -> None:
        self._holder = holder
        self._bucket = bucket
        self._policy = policy
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._clients: _Clients | None = None
        self._look_at = 0.0
        self._off = False
        self._wrong_digests = 0
        self.opaque = 0
        """How many objects boto3 had to be asked about."""
        self._requests = Health(FAILURES)
        self._ranges = Health(RANGE_FAILURES)
        self.fetched = 0
        """How many objects and ranges the fast path fetched."""

    @property
    def on(self) -> bool:
        """Whether requests should go this way now."""
        return not self._off and self._requests.good and self._pid == os.getpid()

    @property
    def ranges_on(self) -> bool:
        """Whether ranges of objects should go this way now."""
        return self.on and self._ranges.good

    def usable(self, size: int) -> bool:
        """Whether a whole object of this size should go this way now."""
        return size <= WHOLE_BYTES and self.opaque < OPAQUE_OBJECTS and self.on

    def fetch(
        self,
        key: str,
        path: str,
        expect: ObjectInfo,
        sha256: str | None = None,
        *,
        fsync: bool = False,
        pace: Pace | None = None,
    ) -> ObjectInfo | Miss:
        """One try for the whole object; `key` is its key in the bucket. After a failed request it has waited already.

        Raises StoreUnreachable when `pace` was stopped meanwhile, NoSpace and the like for the local disk. A data set
        is a million calls of this: it is written to do little.
        """
        try:
            answer = interruptible(self._lately_open().objects.whole, key, expect.size)
            found = (
                expect if _is_plainly(answer, expect, sha256) else self._compared(key, answer, expect, sha256)
            )
        except Exception as error:  # whatever it is, the fallback meets it again and names it
            self._failed(self._requests, error)
            self._wait(key, error, pace)
            return Miss()
        if isinstance(found, Miss) or not write_body(path, answer.data, fsync=fsync):
            return found if isinstance(found, Miss) else Miss()
        self.fetched += 1
        self._requests.failures = 0
        return found

    def _compared(self, key: str, answer: Whole, expect: ObjectInfo, sha256: str | None) -> ObjectInfo | Miss:
        """The object's facts when the answer is the object that was expected, by whatever there is to compare."""
        data, actual = answer.data, info_of_obstore(expect.key, answer.meta, answer.attributes)
        if data is None or len(data) != expect.size or (expect.etag and actual.etag != expect.etag):
            return Miss()
        wanted = sha256 or actual.sha256
        if wanted:
            return actual if hashlib.sha256(data).hexdigest() == wanted else Miss(wrong_digest=True)
        if actual.md5 is None or md5_of(data) == actual.md5:
            return actual
        if not self._is_opaque(key, actual):
            return Miss(wrong_digest=True)
        return replace(actual, opaque=True, sha256=hashlib.sha256(data).hexdigest())

    def _is_opaque(self, key: str, info: ObjectInfo) -> bool:
        """Whether the object's headers, which only boto3 shows, say that its ETag is no MD5."""
        try:
            answer = self._holder.get().head_object(Bucket=self._bucket, Key=key)
        except Exception as error:  # the fallback meets it again and names it
            log.debug("asking how %s is encrypted failed: %s", key, type(error).__name__)
            return False
        facts = info_of_answer(info.key, info.size, answer)
        opaque = facts.opaque and facts.etag == info.etag
        self.opaque += opaque
        return opaque

    def read_range(self, key: str, info: ObjectInfo, start: int, length: int) -> Iterator[bytes]:
        """Bytes from `start` of the version that `info` describes. Raises FastPathError, perhaps after some bytes."""
        try:
            client = self._open().objects
            answer = client.get(client.store, key, options={"range": (start, start + length)})
            meta, received = answer.meta, 0
            actual = info_of_obstore(info.key, meta, answer.attributes)
            changed = actual != (info if not info.etag else replace(info, mtime=actual.mtime))
            if changed or meta["path"] != key or answer.range != (start, start + length):
                raise FastPathError("another version or range")
            for chunk in answer.stream(min_chunk_size=CHUNK_BYTES):
                received += len(chunk)
                yield chunk
        except Exception as error:  # as above
            self._failed(self._ranges, error)
            raise FastPathError(type(error).__name__) from error
        if received != length:
            raise FastPathError("the range is not complete")
        self.fetched += 1
        self._ranges.failures = 0

    def begin(self, key: str, start: int, length: int) -> tuple[ObjectInfo, bytes] | None:
        """At most `length` bytes from `start`, and facts about the object. None: use the fallback."""
        try:
            client = self._open().objects
            answer, data = interruptible(client.part, key, start, length)
            info = info_of_obstore(key, answer.meta, answer.attributes)
        except Exception as error:  # as above
            self._failed(self._ranges, error)
            return None
        if (
            answer.meta["path"] != key
            or answer.range[0] != start
            or len(data) != min(length, info.size - start)
        ):
            return None
        self._ranges.failures = 0
        return info, data

    def read(self, key: str, start: int, length: int) -> bytes | None:
        """A part of an object, as `ObjectStore.read` gives it; a whole one is compared with its digest. None: use the fallback."""
        body = self.begin(key, start, length)
        if body is None:
            return None
        info, data = body
        if len(data) == info.size:
            try:
                check_bytes(data, info, key)
            except IntegrityError:
                return None
        self.fetched += 1
        return data

    def head(self, key: str) -> ObjectInfo | None:
        """Facts about an object. Raises NotFound when there is none. None: use the fallback."""
        try:
            client = self._open().objects
            answer = interruptible(client.head, key)
            info = info_of_obstore(key, answer.meta, answer.attributes)
        except FileNotFoundError as error:
            raise NotFound("no such object", where=self._where(key)) from error
        except Exception as error:  # as above
            self._failed(self._requests, error)
            return None
        self._requests.failures = 0
        return info if answer.meta["path"] == key else None

    def page(self, prefix: str, marker: str, delimiter: str) -> Page | None:
        """A page of the bucket's listing. None: use the fallback."""
        try:
            page = self._open().pages.fetch(prefix, marker, delimiter)
        except Exception as error:  # as above
            self._failed(self._requests, error)
            return None
        self._requests.failures = 0
        return page

    def digest_was_wrong(self) -> None:
        """The fallback accepted an object whose bytes were damaged here."""
        self._wrong_digests += 1
        self._off = self._off or self._wrong_digests >= WRONG_DIGESTS

    def _failed(self, health: Health, error: Exception) -> None:
        if isinstance(error, NoRoute):
            log.info("the store is served by boto3 alone: %s", error)
            self._off = True
        elif not isinstance(error, FileNotFoundError):  # that is a good answer about the object
            health.failed()

    def _wait(self, key: str, error: Exception, pace: Pace | None) -> None:
        """Pause before the fallback asks again, unless it would get the same answer at once."""
        if self._clients is None or not isinstance(error, self._clients.objects.failed):
            return
        Backoff(self._policy, pace).wait(StoreUnreachable("the request failed", where=self._where(key)))

    def _where(self, key: str) -> str:
        return f"{self._holder.target.scheme}://{self._bucket}/{key}"

    def _lately_open(self) -> _Clients:
        """The clients, as those of a moment ago; keys that the store refuses meanwhile are met by the fallback."""
        now = time.monotonic()
        if self._clients is None or now >= self._look_at:
            self._look_at = now + LOOK_S
            return self._open()
        return self._clients

    def _open(self) -> _Clients:
        """The clients; new ones when the keys have changed, since obstore keeps those that it was given for minutes."""
        keys, clients = self._holder.chain.current(), self._clients
        if clients is not None and (clients.keys is keys or clients.keys == keys):
            return clients
        with self._lock:
            if self._clients is None or self._clients.keys != keys:
                route = find_route(self._holder, self._bucket)
                objects = open_obstore(route, self._bucket)
                self._clients = _Clients(objects, PageClient(route, PARALLEL_PIECES), keys)
            return self._clients
