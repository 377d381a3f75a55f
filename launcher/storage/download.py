"""One object into one file: part name, resume, verify, rename. Shared by every store.

A store gives `open_body(start)`; this module owns the loop around the request *and* its body, since a stream
that breaks half-way is retried by no client library.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from launcher.disk import CHUNK_BYTES, fsync_folder, mapped, md5_of, open_part, os_error, part_path, write_all
from launcher.errors import IntegrityError, NoSpace, StoreError, StoreUnreachable
from launcher.storage.backoff import Backoff, BackoffPolicy
from launcher.storage.base import ObjectInfo, OnBytes, Pace
from launcher.storage.ranges import Remainder

WRONG_SHA256 = "the content does not match its sha256"
WRONG_MD5 = "the content does not match its ETag (MD5)"
RESUME_BYTES = 4 << 20
"""A part smaller than this is simply fetched again."""


@dataclass(frozen=True, slots=True)
class Body:
    """An open download: facts about the whole object, and its bytes from the asked start.

    `ranged` tells that the store sent only the bytes that were asked for; `settled`, that a later version of the object
    would differ in its ETag or its time of modification. With a `remainder` the chunks are only the first bytes.
    """

    info: ObjectInfo
    chunks: Iterator[bytes]
    ranged: bool = False
    settled: bool = True
    remainder: Remainder | None = None

    @property
    def version(self) -> str:
        """The same for each answer about one version of the object."""
        return self.info.etag or f"{self.info.size} bytes of {self.info.mtime}"


OpenBody = Callable[[int], AbstractContextManager[Body]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the caller knows about the object in advance."""

    where: str
    expect: ObjectInfo | None = None
    sha256: str | None = None
    is_version: Callable[[ObjectInfo], bool] | None = None
    """Asks the store whether an answer with another ETag is about the version that was listed all the same."""

    def proof(self, info: ObjectInfo) -> str | None:
        """The sha256 that the bytes must have: the caller's, or the one stored with the object."""
        return self.sha256 or info.sha256 or None

    def records_sha256(self, info: ObjectInfo) -> bool:
        """Whether the caller lacks a digest because the ETag that was listed turned out to be no MD5."""
        return self.expect is not None and self.expect.md5 not in (None, info.md5)

    def check_version(self, info: ObjectInfo) -> None:
        """Raises IntegrityError when the object is not the one that was listed."""
        if self.expect is None:
            return
        change = ""
        if info.size != self.expect.size:
            change = f"{self.expect.size} bytes, now {info.size} bytes"
        elif not self._same_etag(self.expect, info):
            change = f"ETag {self.expect.etag!r}, now {info.etag!r}"
        if change:
            raise IntegrityError(
                f"the object changed: listed with {change}",
                where=self.where,
                hint="something is still writing there; wait for it to end, then run again",
            )

    def _same_etag(self, expect: ObjectInfo, info: ObjectInfo) -> bool:
        if not (info.etag and expect.etag) or info.etag == expect.etag:
            return True
        return self.is_version is not None and self.is_version(info)


class _Part:
    """The bytes received so far, on disk and in the digests."""

    def __init__(self, handle: int, *, on_bytes: OnBytes | None, stop: threading.Event | None) -> None:
        self.handle = handle
        self.size = 0
        self.version = ""
        self.md5: Any = hashlib.md5(usedforsecurity=False)
        self.sha256: Any = hashlib.sha256()
        self._on_bytes = on_bytes
        self._stop = stop

    def add(self, chunk: bytes, *, write: bool = True) -> None:
        if write:
            write_all(self.handle, chunk)
        if self.md5 is not None:
            self.md5.update(chunk)
        if self.sha256 is not None:
            self.sha256.update(chunk)
        self._arrived(len(chunk))

    def add_out_of_order(self, remainder: Remainder) -> None:
        """Let ranges be written to their places. Afterwards, also after an error, the file ends after the bytes counted."""
        try:
            remainder.into_file(self.handle, self._arrived)
        finally:
            os.ftruncate(self.handle, self.size)
            os.lseek(self.handle, self.size, os.SEEK_SET)

    def _arrived(self, count: int) -> None:
        self.size += count
        if self._on_bytes:
            self._on_bytes(count)
        if self._stop is not None and self._stop.is_set():
            raise StoreUnreachable("stopped before everything had come")

    def use_only(self, *, sha256: bool, md5: bool) -> None:
        """Stop computing digests that are compared with nothing: an MD5 takes longer than the transfer."""
        self.sha256 = self.sha256 if sha256 else None
        self.md5 = self.md5 if md5 else None

    def reload(self) -> None:
        """Continue the part file of an earlier process: read its bytes into the digests."""
        os.lseek(self.handle, 0, os.SEEK_SET)
        while chunk := os.read(self.handle, CHUNK_BYTES):
            self.add(chunk, write=False)

    def restart(self) -> None:
        if self._on_bytes and self.size:
            self._on_bytes(-self.size)
        os.ftruncate(self.handle, 0)
        os.lseek(self.handle, 0, os.SEEK_SET)
        self.size, self.version = 0, ""
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.sha256 = hashlib.sha256()


def download(
    open_body: OpenBody,
    path: Path | str,
    wanted: Wanted,
    *,
    policy: BackoffPolicy,
    fsync: bool = True,
    on_bytes: OnBytes | None = None,
    pace: Pace | None = None,
) -> ObjectInfo:
    """Fetch into `path`. On failure `path` is untouched; a large part stays for the next try, a small one goes."""
    path = Path(path)
    with mapped(path):
        handle, part_file = open_part(path)
    stop = None if pace is None else pace.stop
    part = _Part(handle, on_bytes=on_bytes, stop=stop)
    keep = False
    try:
        with mapped(path):
            _resume(part, wanted)
        info = _fill(part, open_body, wanted, Backoff(policy, pace))
        with mapped(path):
            if fsync:
                os.fsync(handle)
            part_file.replace(path)
            keep = True
            if fsync:
                fsync_folder(path.parent)
        return info
    except (StoreUnreachable, KeyboardInterrupt):
        keep = part.size >= RESUME_BYTES
        raise
    finally:
        if not keep:
            with suppress(OSError):
                part_file.unlink()
        os.close(handle)


def can_resume(path: Path | str) -> bool:
    """Whether an earlier process left a part that is worth keeping."""
    try:
        return part_path(Path(path)).stat().st_size >= RESUME_BYTES
    except OSError:
        return False


def _resume(part: _Part, wanted: Wanted) -> None:
    """Continue an earlier part only where a digest will prove the result."""
    size = os.fstat(part.handle).st_size
    expect = wanted.expect
    provable = wanted.sha256 or (expect is not None and (expect.sha256 or expect.md5))
    if provable and size >= RESUME_BYTES and (wanted.expect is None or size <= wanted.expect.size):
        part.reload()
    elif size:
        os.ftruncate(part.handle, 0)


def _fill(part: _Part, open_body: OpenBody, wanted: Wanted, backoff: Backoff) -> ObjectInfo:
    while True:
        before = part.size
        try:
            with open_body(part.size) as body:
                wanted.check_version(body.info)
                sha256, md5 = wanted.proof(body.info), body.info.md5
                if part.size and not part.version and sha256 is None and md5 is None:
                    part.restart()  # left by an earlier process, with no digest to check it
                    continue
                if part.version and body.version != part.version:
                    raise IntegrityError("the object changed during the download", where=wanted.where)
                part.version = body.version
                part.use_only(
                    sha256=sha256 is not None or wanted.records_sha256(body.info),
                    md5=sha256 is None and md5 is not None,
                )
                _copy(part, body, wanted.where)
            _verify(part, body, wanted)
            return replace(body.info, sha256=part.sha256.hexdigest()) if part.sha256 else body.info
        except OSError as error:
            raise os_error(error, wanted.where) from error
        except IntegrityError as error:
            backoff.wait(error)
            part.restart()
        except NoSpace:
            raise
        except StoreUnreachable as error:
            if part.size - before >= CHUNK_BYTES:
                backoff.progress()
            backoff.wait(error)


def _copy(part: _Part, body: Body, where: str) -> None:
    for chunk in body.chunks:
        part.add(chunk)
        if part.size > body.info.size:
            raise too_long(body.info.size, where)
    if body.remainder is not None:
        # The first answer may have had more or fewer bytes than were asked for.
        remainder = replace(body.remainder, start=part.size)
        if part.md5 is None and part.sha256 is None:
            part.add_out_of_order(remainder)
        else:
            with closing(remainder.in_order()) as chunks:
                for chunk in chunks:
                    part.add(chunk)
    if part.size < body.info.size:
        raise StoreUnreachable(
            f"the connection ended after {part.size} of {body.info.size} bytes",
            where=where,
            hint="the network or the store is in trouble; run again, what arrived is kept",
        )


def _verify(part: _Part, body: Body, wanted: Wanted) -> None:
    sha256 = wanted.proof(body.info)
    if sha256 is not None and part.sha256.hexdigest() != sha256:
        hint = _DAMAGED if wanted.sha256 else _METADATA
        raise IntegrityError(WRONG_SHA256, where=wanted.where, hint=hint)
    if part.md5 is not None and part.md5.hexdigest() != body.info.md5:
        raise IntegrityError(WRONG_MD5, where=wanted.where, hint=_DAMAGED)


def too_long(size: int, where: str) -> IntegrityError:
    """The error for a body of more bytes than the object has."""
    return IntegrityError(f"more than the promised {size} bytes arrived", where=where, hint=_DECODED)


def check_bytes(data: bytes, info: ObjectInfo, where: str) -> None:
    """Compare a whole object with its digest, if it has one. Raises IntegrityError."""
    if info.sha256:
        if hashlib.sha256(data).hexdigest() != info.sha256:
            raise IntegrityError(WRONG_SHA256, where=where)
    elif info.md5 is not None and md5_of(data) != info.md5:
        raise IntegrityError(WRONG_MD5, where=where)


_DAMAGED = "two downloads were damaged; check the object, and any proxy or cache on the way"
_METADATA = f"{_DAMAGED}; where another program made its metadata x-amz-meta-sha256, copy it without them"
_DECODED = (
    "a store or proxy that decompresses on the way changes objects: upload them without Content-Encoding"
)

__all__ = ["Body", "OpenBody", "StoreError", "Wanted", "check_bytes", "download"]
