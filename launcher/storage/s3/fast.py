"""Objects by the short way: our own requests on kept-alive connections, an eighth of boto3's CPU per small object.

It is the quick way and never the only one. One request, one look at size, ETag and digest; whatever is not plainly
good is left to the careful way of `s3.py`, which retries, resumes, and knows what to say.
"""

from __future__ import annotations

import calendar
import hashlib
import os
import re
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from launcher.disk import fsync_folder, os_error, part_name, write_all
from launcher.errors import StoreUnreachable, UsageError
from launcher.storage.backoff import Backoff, BackoffPolicy, StoreBusy
from launcher.storage.base import ObjectInfo, Pace
from launcher.storage.ranges import InMemory, Target
from launcher.storage.s3 import client as s3_client
from launcher.storage.s3.listing import PAGE_KEYS, Page, read_page
from launcher.storage.s3.sigv4 import query_of
from launcher.storage.s3.way import NoWay, Way, find_way
from launcher.storage.s3.wire import Connection, Head, Stale, WireError

ENGINES = ("auto", "boto3")
ENGINE_VARIABLE = "LAUNCHER_S3_ENGINE"
WHOLE_BYTES = 2 << 20
"""Objects up to this size are held in memory as a whole, one per worker."""
DISTRUST = 3
"""Wrong digests that the careful way did not confirm, before this engine is given up."""
PAGE_BYTES = 16 << 20
"""A page of a listing is not longer: 1,000 keys of 1 KiB, quoted, with all that stands around them."""
FAILURES = 24
REST_S = 30.0
"""After so many failures in a row everything goes the careful way for a while: a store that is down is told so there."""

_DATE = re.compile(r"\w{3}, (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII)
_MONTHS = {
    "Jan": 1,
    "Feb": 2,
    "Mar": 3,
    "Apr": 4,
    "May": 5,
    "Jun": 6,
    "Jul": 7,
    "Aug": 8,
    "Sep": 9,
    "Oct": 10,
    "Nov": 11,
    "Dec": 12,
}
_MD5 = hashlib.md5(usedforsecurity=False)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def fast_wanted(env: Mapping[str, str]) -> bool:
    """The one place that chooses. Raises UsageError for a word that is no engine."""
    word = env.get(ENGINE_VARIABLE) or "auto"
    if word not in ENGINES:
        raise UsageError(f"{ENGINE_VARIABLE}={word}", hint=f"one of {', '.join(ENGINES)}")
    return word == "auto"


@dataclass(frozen=True, slots=True)
class Bad:
    """Why the careful way is needed. `digest` is True when size and ETag were right and the bytes were not."""

    digest: bool = False


class FastGets:
    """Downloads from one bucket. Any thread may call it; a forked child is sent the careful way."""

    def __init__(self, holder: s3_client.ClientHolder, bucket: str, policy: BackoffPolicy) -> None:
        self._holder = holder
        self._bucket = bucket
        self._policy = policy
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._way: Way | None = None
        self._mine = threading.local()  # each thread's connection, which ends with the thread
        self._off = False
        self._suspect = 0
        self._failures = 0
        self._rests_until = 0.0
        self.fetched = 0
        """How many objects and stretches came this way."""

    @property
    def on(self) -> bool:
        """Whether anything should come this way now."""
        return not self._off and time.monotonic() >= self._rests_until and self._pid == os.getpid()

    def usable(self, size: int) -> bool:
        """Whether a whole object of this size should."""
        return size <= WHOLE_BYTES and self.on

    def fetch(
        self,
        key: str,
        path: str,
        expect: ObjectInfo,
        sha256: str | None = None,
        *,
        fsync: bool = False,
        pace: Pace | None = None,
    ) -> ObjectInfo | Bad:
        """One try. `key` is that of the bucket. After a failure of the line or the store it has waited already.

        Raises StoreUnreachable when `pace` was stopped meanwhile, NoSpace and the like for the local disk. All that
        is done here is done a million times: it is written to do little.
        """
        try:
            connection, head = self._ask(key)
            right = head.length == expect.size and head.status == 200 and not head.has("content-range")
            data = connection.body(expect.size) if right else None
            if head.closes or data is None:
                self._close()
        except Exception as error:  # whatever it is, the careful way meets it again and names it
            self._close()
            return self._failed(key, error, pace)
        if data is None:
            return self._answered(key, head, pace)
        etag = head.field("etag").strip('"')
        if etag != expect.etag:
            if etag and expect.etag:
                return Bad()
            expect = replace(expect, etag=etag)
        if expect.md5 is not None and not encrypted(head):
            md5 = _MD5.copy()
            md5.update(data)
            if md5.hexdigest() != etag:
                return Bad(digest=True)
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            return Bad(digest=True)
        try:
            if not _write(path, data, fsync=fsync):
                return Bad()
        except OSError as error:
            raise os_error(error, path) from error
        self.fetched += 1
        self._failures = 0
        return expect

    def stretch(
        self, key: str, info: ObjectInfo, start: int, length: int, target: Target, stop: threading.Event
    ) -> bool:
        """Bytes of the version that `info` tells of, from `start`, into `target`. False: go the careful way."""
        try:
            connection, head, total = self._range(key, start, length)
            if head.length != length or fast_info(info.key, head, total) != info:
                self._close()
                return False
            connection.fill(target, stop)
            if head.closes:
                self._close()
        except Exception:  # as above; nothing is counted, since few and long ones say little
            self._close()
            return False
        self.fetched += 1
        return True

    def begin(self, key: str, start: int, length: int) -> tuple[Head, int, bytes] | None:
        """At most so many bytes from `start`, with the head of the answer and the object's size. None: the careful way."""
        try:
            connection, head, total = self._range(key, start, length)
            wanted = min(length, total - start)
            if head.length != wanted:
                self._close()
                return None
            data = bytearray(wanted)
            connection.fill(InMemory(memoryview(data)), threading.Event())
            if head.closes:
                self._close()
        except Exception as error:  # as above
            self._lost(error)
            return None
        self._failures = 0
        return head, total, bytes(data)

    def read(self, key: str, start: int, length: int) -> bytes | None:
        """A stretch, as `ObjectStore.read` gives it; a whole object is compared with its MD5. None: the careful way."""
        begun = self.begin(key, start, length)
        if begun is None:
            return None
        head, total, data = begun
        md5 = None if encrypted(head) else fast_info(key, head, total).md5
        if len(data) == total and md5 and hashlib.md5(data, usedforsecurity=False).hexdigest() != md5:
            return None
        self.fetched += 1
        return data

    def _range(self, key: str, start: int, length: int) -> tuple[Connection, Head, int]:
        """Ask for it; also gives the size of the object. Raises WireError when another range comes."""
        connection, head = self._ask(key, f"Range: bytes={start}-{start + length - 1}\r\n")
        found = _CONTENT_RANGE.fullmatch(head.field("content-range"))
        if found is None or int(found[1]) != start:
            raise WireError("not the range that was asked for")
        if head.length != int(found[2]) + 1 - start:
            raise WireError("not the length that was promised")
        return connection, head, int(found[3])

    def page(self, prefix: str, marker: str, delimiter: str) -> Page | None:
        """A page of the bucket's listing; `prefix` and `marker` are those of the bucket. None: the careful way."""
        try:
            quoted = (self._way or self._opened()).quoted
            fields = {"delimiter": delimiter, "encoding_type": "url" if quoted else ""}
            fields = {name: value for name, value in fields.items() if value}
            query = query_of(marker=marker, max_keys=str(PAGE_KEYS), prefix=prefix, **fields)
            connection, head = self._ask("", query=query)
            if head.status != 200:
                raise _refusal(head)
            page = read_page(connection.text(head, PAGE_BYTES), quoted=quoted)
            if head.closes:
                self._close()
            self._failures = 0
            return page
        except Exception as error:  # as above
            self._lost(error)
            return None

    def head(self, key: str) -> Head | None:
        """The answer to a HEAD, with 200 and a length, or with 404. None: the careful way."""
        try:
            connection, head = self._ask(key, method="HEAD")
            if head.length is None and head.status != 404:
                raise _refusal(head)
            connection.body(0)
            if head.closes:
                self._close()
            self._failures = 0
            return head
        except Exception as error:  # as above
            self._lost(error)
            return None

    def was_right(self) -> None:
        """The careful way took bytes whose digest this engine refused: a line that flips bits, or a defect."""
        self._suspect += 1
        self._off = self._off or self._suspect >= DISTRUST

    def _ask(
        self, key: str, extra: str = "", *, method: str = "GET", query: str = ""
    ) -> tuple[Connection, Head]:
        """Send, and read the head; once more on a new connection when the kept one turns out to be closed."""
        way = self._way or self._opened()
        request = way.signer.request(key, extra, method=method, query=query)
        connection: Connection | None = getattr(self._mine, "connection", None)
        if connection is not None and connection.ready:
            with suppress(Stale):
                return connection, connection.ask(request)
        self._close()
        connection = self._mine.connection = Connection(way.peer)
        return connection, connection.ask(request)

    def _lost(self, error: Exception) -> None:
        """Nothing of use came: this is the careful way's, and after many in a row so is everything."""
        self._close()
        if isinstance(error, NoWay):
            self._off = True
        elif not isinstance(error, StoreBusy):
            self._failures += 1
            if self._failures >= FAILURES:
                self._failures, self._rests_until = 0, time.monotonic() + REST_S

    def _close(self) -> None:
        connection: Connection | None = getattr(self._mine, "connection", None)
        self._mine.connection = None
        if connection is not None:
            connection.close()

    def _answered(self, key: str, head: Head, pace: Pace | None) -> Bad:
        """An answer that is no object: wait where the store or something before it is in trouble."""
        error = _refusal(head, self._where(key))
        if isinstance(error, StoreBusy) or head.status >= 500:
            return self._failed(key, error, pace)
        self._lost(error)
        return Bad()

    def _failed(self, key: str, error: Exception, pace: Pace | None) -> Bad:
        self._lost(error)
        if isinstance(error, NoWay):
            return Bad()
        if not isinstance(error, StoreBusy):
            error = StoreUnreachable("the request failed", where=self._where(key))
        Backoff(self._policy, pace).wait(error)
        return Bad()

    def _where(self, key: str) -> str:
        return f"{self._holder.target.scheme}://{self._bucket}/{key}"

    def _opened(self) -> Way:
        with self._lock:
            if self._way is None:
                self._way = find_way(self._holder, self._bucket)
            return self._way


def _refusal(head: Head, where: str = "") -> Exception:
    """For an answer that is nothing of use."""
    if head.status not in (429, 503):
        return WireError(str(head.status))
    busy = StoreBusy("the store is busy", where=where)
    with suppress(ValueError):
        busy.retry_after_s = float(head.field("retry-after") or "0")
    return busy


def fast_info(key: str, head: Head, size: int) -> ObjectInfo:
    """What an answer tells of an object."""
    return ObjectInfo(key, size, head.field("etag").strip('"'), http_time(head.field("last-modified")))


def http_time(text: str) -> float:
    """Unix seconds of "Sun, 22 Nov 2026 04:58:11 GMT", the one form HTTP/1.1 sends; 0 for anything else."""
    found = _DATE.fullmatch(text)
    if not found or found[2] not in _MONTHS:
        return 0.0
    day, month, year, *clock = found.groups()
    return float(calendar.timegm((int(year), _MONTHS[month], int(day), *map(int, clock))))


def encrypted(head: Head) -> bool:
    """Whether the ETag of such an object is not the MD5 of its bytes."""
    name = "x-amz-server-side-encryption"
    return "kms" in head.field(name).lower() or head.has(f"{name}-customer-algorithm")


def _write(path: str, data: memoryview, *, fsync: bool) -> bool:
    """Under the part name, then renamed. False when that name is taken: by another process, or left by one."""
    folder, _, name = path.rpartition("/")
    part = f"{folder}/{part_name(name)}"
    try:
        handle = os.open(part, _NEW, 0o666)
    except FileExistsError:
        return False
    try:
        try:
            if os.write(handle, data) != len(data):
                os.lseek(handle, 0, os.SEEK_SET)
                write_all(handle, data)
            if fsync:
                os.fsync(handle)
        finally:
            os.close(handle)
        os.rename(part, path)  # noqa: PTH104  # a third of the time of the method, a million times
    except BaseException:
        with suppress(OSError):
            os.unlink(part)  # noqa: PTH108
        raise
    if fsync:
        fsync_folder(Path(folder))
    return True
