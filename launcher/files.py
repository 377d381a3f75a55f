"""Small files, complete or absent."""

from __future__ import annotations

from pathlib import Path

from launcher.storage.localfs import mapped, write_atomic


def write_text(path: Path, text: str) -> None:
    """Create or replace, with the folders above. Raises StoreError (NoSpace among them)."""
    with mapped(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.encode())
