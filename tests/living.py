"""Looking at folders in which a node program may still be at work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

Answer = TypeVar("Answer")


def each_path(look: Callable[[Path], Answer], *roots: Path) -> Iterator[tuple[Path, Answer]]:
    """What `look` says of each folder and file from `roots` on; those that were removed meanwhile are left out."""
    for root in roots:
        for folder, _, files in os.walk(root):
            for path in (Path(folder), *(Path(folder, name) for name in files)):
                with suppress(FileNotFoundError):
                    yield path, look(path)
