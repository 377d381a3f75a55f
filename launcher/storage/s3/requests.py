"""Requests of boto3 for the keys below one folder of a bucket: errors in our terms, repeated after failures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from launcher.errors import StoreRefused
from launcher.storage.backoff import with_backoff
from launcher.storage.base import Pace
from launcher.storage.registry import Location, Options
from launcher.storage.s3.client import ClientHolder
from launcher.storage.s3.errors import Edge, ended_keys, hides_its_code, is_broken, map_error, refusal_of
from launcher.storage.s3.keyfile import Keys

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Requests:
    """`holder` has the client; `edge` is for messages."""

    location: Location
    options: Options
    holder: ClientHolder
    edge: Edge

    @property
    def base(self) -> str:
        """What stands before each key of ours in the bucket."""
        return f"{self.location.path}/" if self.location.path else ""

    @property
    def url(self) -> str:
        """The folder's address."""
        return f"{self.location.scheme}://{self.location.bucket}/{self.location.path}".rstrip("/")

    def join(self, key: str) -> str:
        """The address of a key."""
        return f"{self.url}/{key}" if key else self.url

    def once(self, key: str, request: Callable[[Any, dict[str, Any]], T]) -> T:
        """One request, and another one when the store refuses keys that have been renewed since. `request` gets the client and
        the Bucket and Key arguments. Raises StoreError."""
        names = {"Bucket": self.location.bucket, "Key": self.base + key}
        while True:
            keys = self.holder.chain.current()
            try:
                return request(self.holder.get(), names)
            except Exception as error:  # every foreign error has its place in our tree
                if not self._renewed(keys, error):
                    raise self._refused(keys, self._with_code(error, names), key) from error

    def _with_code(self, error: Exception, names: dict[str, Any]) -> Exception:
        """The same refusal with the code of its reason, which only the answer to a GET has."""
        if hides_its_code(error):
            try:
                self.holder.get().get_object(**names, Range="bytes=0-0")["Body"].close()
            except Exception as refusal:  # mapped like any other
                return refusal
        return error

    def _renewed(self, keys: Keys | None, error: Exception) -> bool:
        """Whether there are other keys than those that the store refused."""
        refused, of_keys = refusal_of(error)
        return refused and self.holder.chain.after_refusal(keys, of_keys=of_keys) is not None

    def _refused(self, keys: Keys | None, error: Exception, key: str) -> Exception:
        ended = ended_keys(error, keys.origin, self.join(key)) if keys is not None and keys.renewed else None
        if is_broken(error) and self.holder.speaks_tls():
            return StoreRefused(
                f"the store at {self.edge.endpoint} speaks TLS",
                where=self.join(key),
                hint="write the endpoint with https://",
            )
        return ended or self.mapped(error, key)

    def with_backoff(
        self, key: str, request: Callable[[Any, dict[str, Any]], T], pace: Pace | None = None
    ) -> T:
        """The same, repeated within the policy."""
        return with_backoff(self.options.backoff, lambda: self.once(key, request), pace)

    def mapped(self, error: Exception, key: str) -> Exception:
        """The member of our error tree for anything boto3 raised."""
        return map_error(error, self.join(key), self.edge)
