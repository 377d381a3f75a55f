"""How many training images a folder on this machine holds, from names alone."""

from __future__ import annotations

import os
from pathlib import Path

from vitmodels.images.imagenames import labelled

LIMIT = 200_000
"""Files that are looked at: listing a million names takes longer than a person waits for a check."""


def count_train_images(folder: Path, limit: int = LIMIT) -> int | None:
    """Images in the class folders of train/; None when there is no such folder, it can't be read, or it has more files than `limit`."""
    images = looked_at = 0
    try:
        with os.scandir(folder / "train") as classes:
            names = [entry.name for entry in classes if entry.is_dir()]
        for name in names:
            with os.scandir(folder / "train" / name) as files:
                for entry in files:
                    looked_at += 1
                    if looked_at > limit:
                        return None
                    images += labelled(f"train/{name}/{entry.name}") is not None
    except OSError:
        return None
    return images
