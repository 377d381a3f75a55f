"""SHA-256 of a file."""

from __future__ import annotations

import hashlib
from pathlib import Path

_PIECE = 1 << 20


def file_sha256(path: Path) -> str:
    """64 hexadecimal digits. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
