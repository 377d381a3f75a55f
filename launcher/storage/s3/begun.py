"""Beginning an upload in parts. One that began although its answer was lost is found afterwards and aborted.

A store keeps an upload without parts, and asks money for it, until somebody aborts it. Uploads show no metadata in a listing,
so one of ours is known by what another writer's can hardly have: the same key, begun between our first request and
the end of our last one, still without any part when ours has ended, and no more of them than answers were lost.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from launcher.errors import NotFound, StoreError, StoreUnreachable
from launcher.storage.backoff import Backoff, StoreBusy
from launcher.storage.s3.confirm import Bucket, is_final

log = logging.getLogger(__name__)

_SECOND = timedelta(seconds=1)


@dataclass
class Begun:
    """An upload in parts: its id, how many answers were lost before there was one, and when, by `time.monotonic`."""

    bucket: Bucket
    key: str
    metadata: dict[str, str]
    id: str = ""
    lost: int = 0
    first_s: float = field(default_factory=time.monotonic)
    last_s: float = 0.0

    def begin(self) -> None:
        """Ask for an upload, again after failures. Raises StoreError, after a look for what lost answers left."""
        backoff = Backoff(self.bucket.policy)
        while not self.id:
            try:
                self.id = self.bucket.once(self.key, self._create)
            except StoreError as error:
                self.lost += isinstance(error, StoreUnreachable) and not isinstance(error, StoreBusy)
                self.last_s = time.monotonic()
                if is_final(error, backoff):
                    self.abort_unused()
                    raise
        self.last_s = time.monotonic()

    def _create(self, client: Any, names: dict[str, Any]) -> str:
        answer = client.create_multipart_upload(**names, Metadata=self.metadata)
        if not answer.get("UploadId"):
            raise StoreUnreachable("the answer names no upload", where=self.bucket.join(self.key))
        return str(answer["UploadId"])

    def abort(self) -> None:
        """Give the upload up, so that its parts cost nothing. An upload that can't be aborted is named in the log."""
        try:
            self.bucket.with_backoff(self.key, _Abort(self.id))
        except NotFound:
            return
        except StoreError as error:
            log.warning("%s: its upload in parts can't be aborted and costs space: %s", self._where, error)

    def abort_unused(self) -> None:
        """After lost answers, abort the uploads that they left. What may be another writer's stays, and the log says so."""
        if not self.lost:
            return
        try:
            unused = self._unused()
            if len(unused) > self.lost:
                log.warning(
                    "%s: some of %d uploads without parts are another writer's", self._where, len(unused)
                )
                return
            for upload in unused:
                self.bucket.once(self.key, _Abort(upload))
        except StoreError as error:
            log.warning("%s: an upload without parts may be left in the store: %s", self._where, error)

    @property
    def _where(self) -> str:
        return self.bucket.join(self.key)

    def _unused(self) -> list[str]:
        sent_s = time.monotonic()
        answer = self.bucket.once(self.key, _list_uploads)
        now = _date_of(answer)
        if now is None:
            raise StoreError("the store tells no time", where=self._where)
        since = now - timedelta(seconds=time.monotonic() - self.first_s) - _SECOND
        until = now - timedelta(seconds=sent_s - self.last_s) + _SECOND
        return [
            upload["UploadId"]
            for upload in answer["ours"]
            if upload["UploadId"] != self.id
            and since <= upload["Initiated"] <= until
            and self._is_empty(upload["UploadId"])
        ]

    def _is_empty(self, upload: str) -> bool:
        """False also for one that has ended meanwhile."""
        try:
            return not self.bucket.once(self.key, _HasParts(upload))
        except NotFound:
            return False


def _list_uploads(client: Any, names: dict[str, Any]) -> dict[str, Any]:
    """The answer to a listing of uploads; `ours` are those of the key, which come before all that begin with it."""
    answer: dict[str, Any] = client.list_multipart_uploads(Bucket=names["Bucket"], Prefix=names["Key"])
    uploads = answer.get("Uploads", [])
    return {**answer, "ours": [each for each in uploads if each["Key"] == names["Key"]]}


def _date_of(answer: dict[str, Any]) -> datetime | None:
    """When the store answered, by its own clock, to the second."""
    try:
        date = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (KeyError, ValueError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class _HasParts:
    """Whether an upload has parts, as a request."""

    upload: str

    def __call__(self, client: Any, names: dict[str, Any]) -> bool:
        return bool(client.list_parts(**names, UploadId=self.upload, MaxParts=1).get("Parts"))


@dataclass(frozen=True, slots=True)
class _Abort:
    """The end of an upload without an object, as a request."""

    upload: str

    def __call__(self, client: Any, names: dict[str, Any]) -> None:
        client.abort_multipart_upload(**names, UploadId=self.upload)
