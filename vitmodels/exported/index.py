"""export.json: the files of a folder of exports, their sizes and digests, and how images are prepared for them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vitmodels.errors import UsageError
from vitmodels.exported.metadata import read_metadata
from vitmodels.images.classes import Classes
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
    image_size: int | None = None
    num_classes: int | None = None
    classes: tuple[str, ...] = ()  # their names, by output
    class_order: str = "text"
    quantised: dict[str, Any] | None = None  # the accuracy of an int8 file beside the float32 one's


def write_index(folder: Path, written: Sequence[Exported]) -> None:
    """Add files to export.json; an entry of an earlier export stays while its file does."""
    entries = {entry["name"]: entry for entry in read_index(folder) if (folder / entry["name"]).is_file()}
    entries.update({one.name: asdict(one) for one in written})
    write_json(folder / INDEX, {"files": [entries[name] for name in sorted(entries)]})


def entry_of(path: Path) -> dict[str, Any]:
    """What is known of an exported file: its entry in export.json, else what the file itself says."""
    for entry in read_index(path.parent):
        if entry.get("name") == path.name:
            return entry
    about: dict[str, Any] = {}
    for key, text in read_metadata(path).items():
        with suppress(ValueError):
            about[key] = json.loads(text)
    return about


def classes_of(path: Path) -> Classes:
    """The classes of an exported file. Older ones have none; their folders were numbered in text order."""
    return Classes.from_dict(entry_of(path))


def side_of(entry: Mapping[str, Any]) -> int | None:
    """The side of the images that a file takes, where it is known."""
    shape = entry.get("input_shape")
    return int(shape[2]) if shape else entry.get("image_size")


def check_side(entry: Mapping[str, Any], side: int, path: Path) -> None:
    """Raises UsageError when a file takes images of another size."""
    own = side_of(entry)
    if own is not None and own != side:
        raise UsageError(
            f"{path.name} takes images of {own} x {own} pixels, not {side} x {side}",
            hint="leave the image size out, or export the net again with the other size",
        )


def read_index(folder: Path) -> list[dict[str, Any]]:
    """The entries of export.json; none when there is no such file or it can't be read."""
    try:
        return list(json.loads((folder / INDEX).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
