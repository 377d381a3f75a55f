"""Creating an object only when there is none: a PUT with `If-None-Match: *`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from launcher.errors import IntegrityError, StoreError, StoreRefused, StoreUnreachable
from launcher.storage.backoff import Backoff
from launcher.storage.base import NoConditionalPut
from launcher.storage.s3.client import ClientHolder
from launcher.storage.s3.confirm import Bucket, is_final, sent_bytes
from launcher.storage.s3.errors import ConditionFailed, Unsupported
from launcher.storage.s3.facts import foreign_answer
from launcher.storage.s3.upload import content_md5

_HINT = "this store can't tell two writers of one object apart"


@dataclass(frozen=True, slots=True)
class ConditionalPut:
    """`holder` remembers, once for all folders of a store, that the store honours the condition."""

    bucket: Bucket
    holder: ClientHolder

    def put(self, key: str, data: bytes) -> bool:
        """True when this call made the object, False when there was one. Raises NoConditionalPut, StoreError."""
        where, backoff = self.bucket.join(key), Backoff(self.bucket.policy)
        unsure = False  # whether an earlier try, whose answer was lost, may have made the object
        while True:
            try:
                self._request(key, data)
                break
            except ConditionFailed:
                return unsure and self.bucket.read(key) == data
            except Unsupported as error:
                raise NoConditionalPut("the store refuses conditions", where=where, hint=_HINT) from error
            except StoreRefused as error:
                raise _refused(error) from error
            except StoreError as error:
                unsure = unsure or isinstance(error, (StoreUnreachable, IntegrityError))
                if not is_final(error, backoff):
                    continue
                found = self._found(key) if unsure else None
                if found is None:
                    raise
                if found != data:
                    return False
                break
        if not self.holder.honours_conditions:
            self._probe(key, data)
        return True

    def _found(self, key: str) -> bytes | None:
        """The object after all tries have failed, if it can be read."""
        try:
            return self.bucket.read(key)
        except StoreError:
            return None

    def _request(self, key: str, data: bytes) -> bool:
        """Whether the answer names an ETag, as a store's does."""
        sent = sent_bytes(key, data)
        digest = content_md5(sent.etag)

        def request(client: Any, names: dict[str, Any]) -> bool:
            self.bucket.brake.take(len(data))
            answer = client.put_object(
                **names, Body=data, ContentMD5=digest, Metadata=sent.metadata, IfNoneMatch="*"
            )
            if not answer.get("ETag") and self._found(key) != data:
                raise foreign_answer(self.bucket.join(key))
            return bool(answer.get("ETag"))

        return self.bucket.once(key, request)

    def _probe(self, key: str, data: bytes) -> None:
        """Make the same object once more: a store that honours the condition refuses, others replace it by itself."""
        backoff = Backoff(self.bucket.policy)
        doubtful = True  # one answer without ETag may be of something on the way
        while True:
            try:
                if not self._request(key, data) and doubtful:
                    doubtful = False
                    continue
            except ConditionFailed:
                self.holder.honours_conditions = True
                return
            except StoreRefused as error:
                raise _refused(error) from error
            except (StoreUnreachable, IntegrityError) as error:
                backoff.wait(error)
                continue
            where = self.bucket.join(key)
            raise NoConditionalPut("the store ignores If-None-Match", where=where, hint=_HINT)


def _refused(error: StoreRefused) -> NoConditionalPut:
    """A store, or a proxy, may refuse a condition with any code. Without one the reason shows if it is another."""
    return NoConditionalPut(
        f"refused with a condition: {error.what}", where=error.where or "", hint=error.hint or _HINT
    )
