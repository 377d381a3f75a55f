"""Data sets of the tests of staging, in a store and on disk."""

from __future__ import annotations

import os
from pathlib import Path

from launcher.storage import ObjectStore


def fill(store: ObjectStore, files: int = 12, size: int = 3000) -> dict[str, bytes]:
    tree = {f"train/c{n % 3}/{n}.jpg": os.urandom(size + n) for n in range(files)}
    for key, data in tree.items():
        store.put(key, data)
    return tree


def read_tree(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }
