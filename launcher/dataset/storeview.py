"""A store seen in part: what its views have in common, which hand on what they do not change."""

from __future__ import annotations

from pathlib import Path

from launcher.storage.base import ObjectInfo, ObjectStore, OnBytes


class StoreView:
    """Hands on to another store; a view of its own defines `list`, `head` and `get_file`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @property
    def url(self) -> str:
        """See ObjectStore."""
        return self._store.url

    def join(self, key: str) -> str:
        """See ObjectStore."""
        return self._store.join(key)

    def now(self) -> float:
        """See ObjectStore."""
        return self._store.now()

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See ObjectStore."""
        return self._store.read(key, start, length)

    def put(self, key: str, data: bytes, *, confirm: bool = True) -> ObjectInfo:
        """See ObjectStore."""
        return self._store.put(key, data, confirm=confirm)

    def put_new(self, key: str, data: bytes) -> bool:
        """See ObjectStore."""
        return self._store.put_new(key, data)

    def put_file(
        self,
        key: str,
        path: Path,
        *,
        length: int | None = None,
        sha256: str | None = None,
        on_bytes: OnBytes | None = None,
    ) -> ObjectInfo:
        """See ObjectStore."""
        return self._store.put_file(key, path, length=length, sha256=sha256, on_bytes=on_bytes)

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        self._store.delete(key)

    def substore(self, prefix: str) -> ObjectStore:
        """See ObjectStore."""
        return self._store.substore(prefix)
