"""A data set of one file: MindRecord (with the index beside it), TFRecord, an archive, or anything that a program reads itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from launcher.dataset.storeview import StoreView
from launcher.errors import NotFound
from launcher.storage.address import StoreAddress
from launcher.storage.base import ObjectInfo, ObjectStore, OnBytes, Pace
from launcher.storage.contents import refuse_folder_of

INDEX = ".db"
"""MindRecord keeps the index of `x.mindrecord` in `x.mindrecord.db`."""


class SingleFile(StoreView):
    """The folder of a file, seen as if it had nothing but that file and its index."""

    def __init__(self, store: ObjectStore, name: str) -> None:
        super().__init__(store)
        self.name = name

    @property
    def url(self) -> str:
        """Address of the file."""
        return self._store.join(self.name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See ObjectStore."""
        for key in (self.name, self.name + INDEX):
            if key.startswith(prefix) and (info := self.head(key)):
                yield info

    def head(self, key: str, *, certain: bool = False) -> ObjectInfo | None:
        """See ObjectStore."""
        return self._store.head(key, certain=certain) if key in (self.name, self.name + INDEX) else None

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
        """See ObjectStore."""
        if self.head(key) is None:
            raise NotFound("no such object", where=self.join(key))
        return self._store.get_file(
            key, path, expect, sha256=sha256, fsync=fsync, on_bytes=on_bytes, pace=pace
        )


def single_file(address: StoreAddress, patience_s: float = 60.0) -> SingleFile | None:
    """The file that the address names; None where it names a folder, or nothing. Raises StoreError."""
    folder, _, name = address.url.rpartition("/")
    if not name or folder.endswith(("/", ":")):
        return None
    store = address.model_copy(update={"url": folder}).open(patience_s)
    key = unquote(name) if folder.startswith("file:") else name
    if store.head(key) is None:
        return None
    refuse_folder_of(store, key)
    return SingleFile(store, key)
