"""A model of a bucket: what requests there are, how long they take, and what goes wrong with them, by the clock of the simulation.

It makes the requests that `launcher.storage.s3` makes: a PUT is confirmed with a HEAD, a listing has pages of 1,000 keys, what fails for now is repeated
with `Backoff`.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.scale.clock import EPOCH, Clock, current
from launcher.disk import md5_of
from launcher.errors import NotFound, StoreUnreachable
from launcher.storage.backoff import StoreBusy, with_backoff
from launcher.storage.base import ObjectInfo, ObjectStore
from launcher.storage.registry import Location, Options

T = TypeVar("T")

PAGE_KEYS = 1000
LISTED_BYTES = 300
"""What a listing says of one key takes about so much."""
BURST_S = 1.0
"""A service that throttles lets so many seconds' worth of requests through at once."""


@dataclass(frozen=True, slots=True)
class Service:
    """What a bucket is like. `failing`: share of requests that get no answer; `per_s`: more requests than that are answered 503.

    `stale_s`: for so long after a PUT a GET or a listing may still give what was there before.
    """

    latency_s: float = 0.02
    failing: float = 0.0
    per_s: float | None = None
    stale_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request: when it was sent, by which machine, what it asked for and how many bytes it moved."""

    at: float
    node: int
    method: str
    key: str
    size: int

    @property
    def kind(self) -> str:
        """The method and the first part of the key: `PUT status`."""
        return f"{self.method} {self.key.partition('/')[0]}"


@dataclass
class Bucket:
    """Objects with their times, and every request that was made."""

    clock: Clock
    service: Service
    seed: int
    requests: list[Request] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    _objects: dict[str, tuple[ObjectInfo, bytes]] = field(default_factory=dict)
    _earlier: dict[str, tuple[ObjectInfo, bytes] | None] = field(default_factory=dict)
    _keys: list[str] = field(default_factory=list)
    _random: random.Random = field(init=False)
    _tokens: float = 0.0
    _filled_at: float = 0.0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def ask(self, method: str, key: str, size: int = 0) -> None:
        """One request on its way there and back. Raises StoreUnreachable, StoreBusy."""
        self.requests.append(Request(self.clock.now, current().node, method, key, size))
        self.clock.pause(self._random.uniform(0.5, 1.5) * self.service.latency_s)
        if self._random.random() < self.service.failing:
            self.refused["lost"] += 1
            raise StoreUnreachable("no answer", where=key)
        if not self._has_token():
            self.refused["503"] += 1
            raise StoreBusy("slow down", where=key)

    def _has_token(self) -> bool:
        if self.service.per_s is None:
            return True
        gained = (self.clock.now - self._filled_at) * self.service.per_s
        self._tokens = min(self.service.per_s * BURST_S, self._tokens + gained)
        self._filled_at = self.clock.now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def write(self, key: str, data: bytes | None) -> ObjectInfo | None:
        """Replace an object, or remove it."""
        self._earlier[key] = self._objects.get(key)
        if data is None:
            if self._objects.pop(key, None) is not None:
                del self._keys[bisect_left(self._keys, key)]
            return None
        if key not in self._objects:
            insort(self._keys, key)
        info = ObjectInfo(key, len(data), md5_of(data), EPOCH + self.clock.now)
        self._objects[key] = (info, bytes(data))
        return info

    def object(self, key: str, *, fresh: bool = False) -> tuple[ObjectInfo, bytes] | None:
        """What a request gets now: with a stale service sometimes what was there before."""
        held = self._objects.get(key)
        if fresh or held is None or not self.service.stale_s:
            return held
        age_s = EPOCH + self.clock.now - held[0].mtime
        return self._earlier.get(key) if age_s < self._random.uniform(0, self.service.stale_s) else held

    def keys(self, prefix: str) -> list[str]:
        first = bisect_left(self._keys, prefix)
        found = []
        for key in self._keys[first:]:
            if not key.startswith(prefix):
                break
            found.append(key)
        return found


class ModelStore:
    """An ObjectStore in a `Bucket`."""

    def __init__(self, bucket: Bucket, base: str, options: Options) -> None:
        self._bucket, self._base, self._policy = bucket, base, options.backoff
        self._conditions_known = False

    @property
    def url(self) -> str:
        return f"memory://{self._base}".rstrip("/")

    def join(self, key: str) -> str:
        return f"{self.url}/{key}"

    def substore(self, prefix: str) -> ObjectStore:
        return ModelStore(self._bucket, f"{self._base}{prefix.strip('/')}/", Options(backoff=self._policy))

    def now(self) -> float:
        self._repeated(lambda: self._bucket.ask("LIST", ""))
        return EPOCH + self._bucket.clock.now

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        keys: list[str] = []
        page = 0
        while page == 0 or len(keys) > page * PAGE_KEYS:
            self._repeated(lambda: self._bucket.ask("LIST", prefix))
            keys = self._bucket.keys(self._base + prefix)
            for key in keys[page * PAGE_KEYS : (page + 1) * PAGE_KEYS]:
                if found := self._bucket.object(key):
                    yield self._relative(found[0])
            page += 1

    def head(self, key: str, *, certain: bool = False) -> ObjectInfo | None:
        self._repeated(lambda: self._bucket.ask("HEAD", key))
        found = self._bucket.object(self._base + key)
        return self._relative(found[0]) if found else None

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        self._repeated(lambda: self._bucket.ask("GET", key, self._size(key)))
        found = self._bucket.object(self._base + key)
        if found is None:
            raise NotFound("no such object", where=self.join(key))
        return found[1][start:] if length is None else found[1][start : start + length]

    def put(self, key: str, data: bytes, *, confirm: bool = True) -> ObjectInfo:
        info = self._repeated(lambda: self._put_once(key, data))
        if not confirm:
            return ObjectInfo(key, len(data))
        self._repeated(lambda: self._bucket.ask("HEAD", key))
        return info

    def put_new(self, key: str, data: bytes) -> bool:
        made = self._repeated(lambda: self._put_new_once(key, data))
        if made and not self._conditions_known:  # see `launcher.storage.s3.conditional`
            self._repeated(lambda: self._put_new_once(key, data))
            self._conditions_known = True
        return made

    def put_file(self, key: str, path: Path, *, length: int | None = None, **unused: Any) -> ObjectInfo:
        return self.put(key, path.read_bytes()[:length])

    def get_file(self, key: str, path: Path | str, *unused: Any, **none: Any) -> ObjectInfo:
        data = self.read(key)
        Path(path).write_bytes(data)
        return ObjectInfo(key, len(data), md5_of(data))

    def delete(self, key: str) -> None:
        self._repeated(lambda: self._bucket.ask("DELETE", key))
        self._bucket.write(self._base + key, None)

    def _put_once(self, key: str, data: bytes) -> ObjectInfo:
        self._bucket.ask("PUT", key, len(data))
        info = self._bucket.write(self._base + key, data)
        assert info is not None
        return self._relative(info)

    def _put_new_once(self, key: str, data: bytes) -> bool:
        self._bucket.ask("PUT", key, len(data))
        if held := self._bucket.object(self._base + key, fresh=True):
            return held[1] == data
        self._bucket.write(self._base + key, data)
        return True

    def _size(self, key: str) -> int:
        found = self._bucket.object(self._base + key, fresh=True)
        return found[0].size if found else 0

    def _relative(self, info: ObjectInfo) -> ObjectInfo:
        return ObjectInfo(info.key[len(self._base) :], info.size, info.etag, info.mtime)

    def _repeated(self, request: Callable[[], T]) -> T:
        return with_backoff(self._policy, request)


_BUCKETS: dict[str, Bucket] = {}


def serve(name: str, bucket: Bucket) -> None:
    """From now on `memory://<name>` is in this bucket."""
    _BUCKETS[name] = bucket


def open_model(location: Location, options: Options) -> ObjectStore:
    """For the registry of stores, in place of that of `memory://`."""
    base = f"{location.bucket}/{location.path}".rstrip("/") + "/"
    return ModelStore(_BUCKETS[location.bucket], base, options)
