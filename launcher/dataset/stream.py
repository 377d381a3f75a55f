"""An object as a stream of large pieces, read one ahead: bounded memory, and no connection held while the reader works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from launcher.errors import IntegrityError
from launcher.storage.base import ObjectStore

PIECE_BYTES = 8 << 20


def pieces(
    store: ObjectStore, key: str, size: int, check: Callable[[], None] = lambda: None
) -> Iterator[bytes]:
    """The `size` bytes of an object. `check` is called before each piece and may raise to end it.

    Raises IntegrityError when the object has another size.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        following = pool.submit(store.read, key, 0, PIECE_BYTES + 1 if size <= PIECE_BYTES else PIECE_BYTES)
        for start in range(0, max(size, 1), PIECE_BYTES):
            check()
            piece = following.result()
            end = start + PIECE_BYTES
            if end < size:
                # one byte more than there should be, at the end, shows an object that has grown
                more = PIECE_BYTES + (end + PIECE_BYTES >= size)
                following = pool.submit(store.read, key, end, more)
            if len(piece) != min(PIECE_BYTES, size - start):
                raise IntegrityError(
                    f"is not the object of {size} bytes that was packed",
                    where=store.join(key),
                    hint="copy it again from where it was packed, or pack again",
                )
            if piece:
                yield piece
