"""The queue of the device locks, as it lies in its folder."""

from __future__ import annotations

from pathlib import Path


def tickets(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.ticket"))
