"""Read every byte of a packed data set and compare it with `packed.json`."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed

from launcher.dataset.shards import END, Member, Packed, Shard, padding, read_members, read_packed, tar_header
from launcher.dataset.stream import pieces
from launcher.errors import IntegrityError, NotFound, StoreError
from launcher.storage.base import ObjectStore
from launcher.threads import Workers

_HINT = "copy this shard again from where it was packed, or pack again"


def verify_packed(
    store: ObjectStore, *, jobs: int = 4, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> Packed:
    """The data set when all of it is good. `progress` is called with the bytes read and their total.

    Raises NotFound when nothing packed is there, IntegrityError that names the damaged shards and files.
    """
    packed = read_packed(store)
    if packed is None:
        raise NotFound(
            "there is no packed.json",
            where=store.url,
            hint="name the DST of `launcher pack`; an unfinished one has none",
        )
    total, done, lock = sum(shard.bytes for shard in packed.shards), 0, threading.Lock()

    def count(size: int) -> None:
        nonlocal done
        with lock:
            done += size
            progress(done, total)

    bad = _damaged(store, packed, jobs, count)
    if bad:
        lines = sorted(f"{error.where}: {error.what}" for error in bad)
        more = f" and {len(lines) - 5} more" if len(lines) > 5 else ""
        raise IntegrityError(
            f"{len(bad)} of {len(packed.shards)} shards are damaged: {'; '.join(lines[:5])}{more}",
            where=store.url,
            hint=_HINT,
        )
    return packed


def _damaged(store: ObjectStore, packed: Packed, jobs: int, count: Callable[[int], None]) -> list[StoreError]:
    """One error for each shard that is damaged or gone. Raises any other error."""
    bad: list[StoreError] = []
    with Workers(max(1, jobs), thread_name_prefix="verify") as pool:
        futures = [pool.submit(verify_shard, store, shard, count) for shard in packed.shards]
        try:
            for future in as_completed(futures):
                error = future.exception()
                if isinstance(error, (IntegrityError, NotFound)):
                    bad.append(error)
                elif error is not None:
                    raise error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return bad


def verify_shard(store: ObjectStore, shard: Shard, on_bytes: Callable[[int], None]) -> None:
    """Raises IntegrityError naming the first damaged file of the shard."""
    members = read_members(store, shard)
    whole, cut = hashlib.sha256(), _Cut(members)
    for piece in pieces(store, shard.tar, shard.bytes):
        whole.update(piece)
        cut.add(piece)
        on_bytes(len(piece))
    if whole.hexdigest() != shard.sha256:
        what = f"first in {cut.wrong!r}" if cut.wrong else "outside of its files"
        raise IntegrityError(f"does not match its sha256, {what}", where=store.join(shard.tar), hint=_HINT)
    if cut.wrong:
        raise IntegrityError(
            f"its index is wrong about {cut.wrong!r}", where=store.join(shard.tar), hint=_HINT
        )


class _Cut:
    """Compares a stream with what the index says: headers, contents, padding, end. `wrong` is the first bad file."""

    def __init__(self, members: list[Member]) -> None:
        self.wrong = ""
        self._parts = self._expected(members)
        self._open()

    @staticmethod
    def _expected(members: list[Member]) -> Iterator[tuple[str, int, str]]:
        """(key, length, sha256) of every part of the tar file, in order."""
        for each in members:
            header = tar_header(each.key, each.size)
            yield each.key, len(header), hashlib.sha256(header).hexdigest()
            yield each.key, each.size, each.sha256
            filler = bytes(padding(each.size))
            yield each.key, len(filler), hashlib.sha256(filler).hexdigest()
        yield "the end", len(END), hashlib.sha256(END).hexdigest()

    def _open(self) -> None:
        self._key, self._left, self._wanted = next(self._parts, ("what follows", 1 << 62, ""))
        self._digest = hashlib.sha256()

    def add(self, piece: bytes) -> None:
        view = memoryview(piece)
        while view:
            part = view[: self._left]
            self._digest.update(part)
            self._left -= len(part)
            view = view[len(part) :]
            while not self._left:
                if self._digest.hexdigest() != self._wanted:
                    self.wrong = self.wrong or self._key
                self._open()
