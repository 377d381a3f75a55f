"""What a store holds after a request of ours: the object compared with what was sent, also where the answer was lost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from launcher.disk import md5_of
from launcher.errors import IntegrityError, NotFound, StoreError, StoreUnreachable
from launcher.storage.backoff import Backoff, BackoffPolicy
from launcher.storage.base import ObjectInfo, Pace
from launcher.storage.brake import Brake
from launcher.storage.s3.facts import SHA256_NAME, foreign_answer, info_of_answer

READ_BYTES = 8 << 20
_OTHER_WRITER = "another writer may use the same key"

T = TypeVar("T")


class Bucket(Protocol):
    """What an upload needs of its store."""

    brake: Brake

    @property
    def policy(self) -> BackoffPolicy:
        """How often a request is repeated."""

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


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent: the object's key, size and sha256, and the ETag of a store that makes it from MD5s."""

    key: str
    size: int
    sha256: str
    etag: str

    @property
    def metadata(self) -> dict[str, str]:
        """What is stored with the object, for readers of any vendor's store."""
        return {SHA256_NAME: self.sha256}


def sent_bytes(key: str, data: bytes) -> Sent:
    """An object that one PUT sends."""
    return Sent(key, len(data), hashlib.sha256(data).hexdigest(), md5_of(data))


def have_effect(
    bucket: Bucket,
    key: str,
    request: Callable[[Any, dict[str, Any]], object],
    happened: Callable[[], bool],
) -> None:
    """Make a request, repeated after failures. Before it counts as failed after a lost answer, `happened` looks."""
    backoff, lost = Backoff(bucket.policy), False
    backoff.begin()
    while True:
        try:
            bucket.once(key, request)
            backoff.end()
            return
        except StoreError as error:
            # A proxy that sends a request again gets the answer that there is no such upload any more.
            lost = lost or isinstance(error, (StoreUnreachable, NotFound))
            if not is_final(error, backoff):
                continue
            if lost and happened():
                return
            raise


def is_final(error: StoreError, backoff: Backoff) -> bool:
    """Waits before the next try, if there is one."""
    if not isinstance(error, (StoreUnreachable, IntegrityError)):
        return True
    try:
        backoff.wait(error)
    except StoreError:
        return True
    return False


def is_there(bucket: Bucket, sent: Sent) -> bool:
    """One look whether the store holds what was sent, after an answer was lost."""
    try:
        info = bucket.once(sent.key, _Look(sent.key))
        if info.size != sent.size:
            return False
        if info.sha256 or info.etag == sent.etag:
            return info.sha256 in ("", sent.sha256)
        return info.md5 is None and _sha256_in_store(bucket, sent) == sent.sha256
    except StoreError:
        return False


def check_effect(bucket: Bucket, sent: Sent, answer: Mapping[str, Any]) -> None:
    """Raises StoreUnreachable when an upload was answered by something else than the store: no ETag, and no object."""
    if not answer.get("ETag") and not is_there(bucket, sent):
        raise foreign_answer(bucket.join(sent.key))


def is_gone(bucket: Bucket, key: str) -> bool:
    """One look whether there is no such object, after an answer was lost."""
    try:
        bucket.once(key, _Look(key))
    except NotFound:
        return True
    except StoreError:
        return False
    return False


def confirm(bucket: Bucket, sent: Sent) -> ObjectInfo:
    """Compare the object in the store with what was sent. Raises IntegrityError when it is not what was sent.

    Where neither its ETag nor its metadata tell, because a store drops metadata and makes ETags of its own, it is read back.
    """
    info, where = bucket.head(sent.key), bucket.join(sent.key)
    if info is None or info.size != sent.size:
        actual = "nothing" if info is None else f"{info.size} bytes"
        raise IntegrityError(f"sent {sent.size} bytes, the store holds {actual}", where=where)
    if sent.sha256 == info.sha256 or (not info.sha256 and sent.etag == info.etag):
        return info
    if info.sha256:
        raise IntegrityError("the store holds other bytes than were sent", where=where, hint=_OTHER_WRITER)
    if info.md5 is not None:
        info = bucket.with_backoff(sent.key, _Look(sent.key))  # only boto3 shows encryption
        if info.md5 is not None and info.md5 != sent.etag:
            what = f"the store's ETag {info.etag} is not that of the bytes sent"
            raise IntegrityError(what, where=where, hint=_OTHER_WRITER)
    if _sha256_in_store(bucket, sent) != sent.sha256:
        raise IntegrityError("what was read back is not what was sent", where=where, hint=_OTHER_WRITER)
    return info


def _sha256_in_store(bucket: Bucket, sent: Sent) -> str:
    digest = hashlib.sha256()
    for start in range(0, sent.size, READ_BYTES):
        digest.update(bucket.read(sent.key, start, min(READ_BYTES, sent.size - start)))
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Look:
    """A HEAD of boto3, as a request."""

    key: str

    def __call__(self, client: Any, names: dict[str, Any]) -> ObjectInfo:
        answer = client.head_object(**names)
        return info_of_answer(self.key, int(answer.get("ContentLength") or 0), answer)
