"""Files of a store one after the other, read ahead by several threads within bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future

from launcher.dataset.layout import ShardFile
from launcher.dataset.stream import PIECE_BYTES, pieces
from launcher.errors import IntegrityError
from launcher.storage.base import ObjectStore
from launcher.threads import Workers

READERS = 8
AHEAD_BYTES = 64 << 20


def read_ahead(source: ObjectStore, entries: list[ShardFile]) -> Iterator[tuple[ShardFile, Iterator[bytes]]]:
    """Each file with its content, in order: small ones whole, large ones piece by piece. Raises IntegrityError for another size."""
    waiting: deque[tuple[ShardFile, Future[bytes] | None]] = deque()
    ahead, following = 0, iter(entries)
    with Workers(READERS, thread_name_prefix="read") as pool:
        try:
            while True:
                while ahead < AHEAD_BYTES and len(waiting) < 4 * READERS:
                    entry = next(following, None)
                    if entry is None:
                        break
                    small = entry.size <= PIECE_BYTES
                    waiting.append((entry, pool.submit(_read_small, source, entry) if small else None))
                    ahead += entry.size if small else 0
                if not waiting:
                    return
                entry, future = waiting.popleft()
                if future is None:
                    yield entry, pieces(source, entry.key, entry.size)
                else:
                    ahead -= entry.size
                    yield entry, iter((future.result(),))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _read_small(source: ObjectStore, entry: ShardFile) -> bytes:
    data = source.read(entry.key)
    if len(data) != entry.size:
        raise IntegrityError(
            f"the object changed: listed with {entry.size} bytes, now {len(data)} bytes",
            where=source.join(entry.key),
            hint="something is still writing there; wait for it to end, then run again",
        )
    return data
