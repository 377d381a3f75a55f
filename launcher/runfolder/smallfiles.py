"""The one way to read a small file of a run: whole, or not at all when it is far too large to be one."""

from __future__ import annotations

import os
from pathlib import Path

from launcher.errors import IntegrityError
from launcher.portable import open_plain
from launcher.storage import ObjectStore
from launcher.units import show_bytes

MOST_BYTES = 64 << 20
"""A state, a plan, a record or a list of files is a thousand times smaller, or ten times at the very most."""


def read_small(path: str | Path, most: int | None = None) -> bytes:
    """Raises OSError, also for a pipe or a device, and IntegrityError for a file of more than `most` bytes (MOST_BYTES)."""
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        _check(size, str(path), most or MOST_BYTES)
        return file.read(size)


def read_small_object(store: ObjectStore, key: str) -> bytes:
    """Raises StoreError; IntegrityError for an object that is too large."""
    data = store.read(key, 0, MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        _check(len(data), store.join(key), MOST_BYTES)
    return data


def _check(size: int, where: str, most: int) -> None:
    if size > most:
        raise IntegrityError(
            f"it is larger than {show_bytes(most)}, so it is no file that launcher wrote",
            where=where,
            hint="remove it, or put a copy of the right one in its place",
        )
