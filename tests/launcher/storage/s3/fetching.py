"""Fetching an object by the fast path, as tests look at it."""

from __future__ import annotations

import random
from pathlib import Path

from launcher.storage import ObjectStore
from launcher.storage.s3.fast import FastPath
from launcher.storage.s3.store import S3Store

DATA = random.Random(0).randbytes(30_000)


def fast_of(store: ObjectStore) -> FastPath:
    assert isinstance(store, S3Store)
    assert store._fast is not None
    return store._fast


def fetch(store: ObjectStore, key: str, folder: Path) -> bytes:
    store.get_file(key, folder / "got", store.head(key))
    assert [path.name for path in folder.iterdir()] == ["got"]
    return (folder / "got").read_bytes()
