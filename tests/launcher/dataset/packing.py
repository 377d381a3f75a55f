"""Trees of files to pack, and packing them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from launcher.dataset.pack import pack
from launcher.dataset.shards import Packed
from launcher.storage.address import StoreAddress

LONG = "train/b/" + "ü" * 120 + ".jpg"


def make_tree(root: Path, files: int = 40, size: int = 3000) -> Path:
    """Class folders with odd names, an empty file, and a file that is no image."""
    for n in range(files):
        path = root / ("val" if n % 5 == 0 else "train") / "abc"[n % 3] / f"{n:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(hashlib.sha256(b"%d" % n).digest() * (size // 32 + n))
    (root / LONG).write_bytes(b"long name")
    (root / "train/a/empty.png").write_bytes(b"")
    (root / "train/a/notes.txt").write_bytes(b"no image")
    (root / "labels.txt").write_bytes(b"a b c")
    return root


def packed_tree(folder: Path, source: Path, **options: object) -> Packed:
    options = {"shard_bytes": 40_000, "jobs": 1, **options}
    made = pack(
        StoreAddress(url=source.as_uri()),
        StoreAddress(url=folder.as_uri()),
        folder.parent / "scratch",
        **options,  # type: ignore[arg-type]
    )
    return made.packed
