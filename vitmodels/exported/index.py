"""export.json: the files of a folder of exports, their sizes and digests, and how images are prepared for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vitmodels.progress import write_json

INDEX = "export.json"
Shape = tuple[int | None, int, int, int]


@dataclass(frozen=True)
class Exported:
    """One written file. `input_shape` has None for an open batch; `preprocess` says how images are prepared."""

    name: str
    format: str
    size: int
    sha256: str
    input_shape: Shape
    step: int | None
    preprocess: dict[str, Any]
    parameters: str | None = None  # "ema" or "raw" weights; None: a file that does not tell
    skipped: tuple[dict[str, str], ...] = ()  # newer checkpoints that were damaged


def write_index(folder: Path, written: Sequence[Exported]) -> None:
    """Add files to export.json; an entry of an earlier export stays while its file does."""
    entries = {entry["name"]: entry for entry in read_index(folder) if (folder / entry["name"]).is_file()}
    entries.update({one.name: asdict(one) for one in written})
    write_json(folder / INDEX, {"files": [entries[name] for name in sorted(entries)]})


def read_index(folder: Path) -> list[dict[str, Any]]:
    """The entries of export.json; none when there is no such file or it can't be read."""
    try:
        return list(json.loads((folder / INDEX).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
