"""The protocol of an object store, the same for all implementations.

A store is rooted at a URL; every key is relative to that root. Keys follow the rules of `keys.py`.
All stores agree on these points, and a test runs the same operations over each of them:

- an object is complete or absent, never half written;
- `list` streams in the order of the keys' UTF-8 bytes;
- `read` beyond the end gives no bytes rather than an error.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from launcher.errors import IntegrityError, StoreRefused

_MD5_ETAG = re.compile(r"[0-9a-f]{32}")

OnBytes = Callable[[int], None]
"""Called with the number of bytes that arrived; a negative number takes back bytes that must be fetched again."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object. `etag` carries no quotes and is empty where a store has none; `mtime` is in Unix seconds.

    `sha256` was stored with the object when it was uploaded; a listing does not show it. `opaque` tells that the ETag is
    known not to be an MD5, whatever its form: the object is encrypted or was appended to, or the ETag is a weak one.
    `ctime_ns` is when a file system changed anything about a file, and no program can set it; 0 elsewhere.
    """

    key: str
    size: int
    etag: str = ""
    mtime: float = 0.0
    sha256: str = field(default="", compare=False)
    opaque: bool = field(default=False, compare=False)
    ctime_ns: int = field(default=0, compare=False)

    @property
    def md5(self) -> str | None:
        """The ETag where nothing known speaks against its being an MD5. A listing does not show that an object is encrypted.

        So equal digests prove equal bytes, and different ones prove nothing before the object's own headers are read.
        """
        return self.etag if not self.opaque and _MD5_ETAG.fullmatch(self.etag) else None


class NoConditionalPut(StoreRefused):
    """The store can't create an object only when there is none."""


class Pace:
    """Limits of one caller: setting `stop` ends every wait; `busy` is called for each answer 429 or 503."""

    def __init__(self) -> None:
        self.stop = threading.Event()

    def busy(self) -> None:
        """A store asked for fewer requests."""


def check_sha256(found: str, wanted: str, where: str) -> None:
    """Raises IntegrityError when the bytes that were read are not those of the digest that was made of them before."""
    if found != wanted:
        raise IntegrityError("the file changed before or during the upload: its sha256 differs", where=where)


class ObjectStore(Protocol):
    """Objects below one URL. Methods block, may be called from several threads, and raise only StoreError.

    A request that fails for now is repeated inside a method until the patience given to `open_store` ends.
    """

    @property
    def url(self) -> str:
        """The root, without a trailing slash and without anything secret."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Objects whose key starts with `prefix` (text, not a folder), in order, one page in memory at a time."""

    def head(self, key: str, *, certain: bool = False) -> ObjectInfo | None:
        """The object's facts, or None when there is none. `certain`: also by headers that tell whether its ETag is an MD5,
        which may cost a slower request."""

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """At most `length` bytes from `start`. Raises NotFound."""

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
        """Download under a part name, verify, rename to `path`, whose folder must exist.

        With `expect`, size and ETag must still be those; with `sha256`, the content must match. It is also
        compared with the sha256 that was stored with the object, else with its ETag where that is an MD5. The answer's
        `sha256` is that of the bytes where it was computed. Raises IntegrityError, NotFound, NoSpace; `path` is then as it was.
        """

    def put(self, key: str, data: bytes, *, confirm: bool = True) -> ObjectInfo:
        """Create or replace an object. Safe to repeat.

        Without `confirm` the store's answer is enough, and no further request looks whether the object is there; its ETag may
        then be unknown. That is for what is soon written again.
        """

    def put_new(self, key: str, data: bytes) -> bool:
        """Create an object unless there is one: of several writers exactly one gets True, the others False.

        `data` must differ between writers: after a lost answer it shows whose object it is. Raises NoConditionalPut
        where the store can't do it; the object may then be there, and each writer may have thought it the first.
        """

    def put_file(
        self,
        key: str,
        path: Path,
        *,
        length: int | None = None,
        sha256: str | None = None,
        on_bytes: OnBytes | None = None,
    ) -> ObjectInfo:
        """Upload a file, or the first `length` bytes of one that is still growing. Safe to repeat.

        `sha256`: that of the bytes, where it is known. They are compared with it before they are the object, and read once.
        Raises IntegrityError when they differ, the file changes meanwhile or the store holds something else afterwards.
        """

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""

    def now(self) -> float:
        """The store's own time in Unix seconds, on the clock of `mtime`: an object's age is told by it, whatever clock this machine has."""

    def join(self, key: str) -> str:
        """The URL of a key."""

    def substore(self, prefix: str) -> ObjectStore:
        """A store rooted at a folder of this one, sharing its connections."""
