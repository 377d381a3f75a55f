"""Manifests: files that belong together, with size and sha256. Without its manifest no set of files is complete.

The training program writes one into each checkpoint set; MANIFEST.json of a run commits its results. Downloads are
verified against them, so they are read strictly.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from launcher.errors import IntegrityError
from launcher.jsontext import parse_json
from launcher.runfolder.paths import SET_MANIFEST, SET_NAME
from launcher.runfolder.smallfiles import read_small
from launcher.storage.keys import key_problem

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file; `key` is relative to what the manifest describes."""

    key: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The results of a run. `run` has facts for people (run id, state, ...); no program reads them."""

    files: tuple[ManifestFile, ...]
    run: Mapping[str, Any] = field(default_factory=dict)
    created_at: float = field(default_factory=time.time)

    @property
    def size_bytes(self) -> int:
        """Size of all files together."""
        return sum(entry.size for entry in self.files)

    def to_json(self) -> bytes:
        """The file's content, entries in order of their keys."""
        files = [
            {"name": each.key, "size": each.size, "sha256": each.sha256}
            for each in sorted(self.files, key=lambda each: each.key)
        ]
        value = {"format": 1, "created_at": self.created_at, "run": dict(self.run), "files": files}
        return (json.dumps(value, indent=1) + "\n").encode()


@dataclass(frozen=True, slots=True)
class SetManifest:
    """The manifest inside a checkpoint set; `raw` is its exact content."""

    step: int
    epoch: int
    files: tuple[ManifestFile, ...]
    raw: bytes
    metrics: Mapping[str, Any] = field(default_factory=dict)


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Read MANIFEST.json. Raises IntegrityError."""
    value = _object(data, where)
    run = value.get("run")
    created = value.get("created_at", 0.0)
    return Manifest(
        _entries(value, where),
        run if isinstance(run, dict) else {},
        float(created) if isinstance(created, int | float) else 0.0,
    )


def parse_set_manifest(data: bytes, where: str) -> SetManifest:
    """Read the manifest of a checkpoint set. Raises IntegrityError."""
    value = _object(data, where)
    step, epoch = value.get("step"), value.get("epoch", 0)
    metrics = value.get("metrics")
    if not _count(step) or not _count(epoch):
        raise _bad("step and epoch must be whole numbers", where)
    files = _entries(value, where)
    if not files:
        raise _bad("it names no file", where)
    return SetManifest(step, epoch, files, data, metrics if isinstance(metrics, dict) else {})


def read_set(folder: Path) -> SetManifest | None:
    """The manifest of a local set whose files are all there with the right sizes, or None: not complete."""
    try:
        manifest = parse_set_manifest(read_small(folder / SET_MANIFEST), str(folder))
        sizes_fit = all((folder / entry.key).stat().st_size == entry.size for entry in manifest.files)
    except (OSError, IntegrityError):
        return None
    return manifest if sizes_fit and folder.name == f"step-{manifest.step}" else None


def is_damaged_set(folder: Path) -> bool:
    """Whether a folder that `read_set` refuses was a checkpoint set, and no folder of a program's own that has a manifest of another form."""
    try:
        data = read_small(folder / SET_MANIFEST)
    except OSError:
        return False
    except IntegrityError:
        return True
    try:
        value = parse_json(data)
    except ValueError:
        return True
    return not isinstance(value, dict) or ("step" in value and "files" in value)


def local_sets(checkpoints: Path) -> dict[int, SetManifest]:
    """Complete sets below a `checkpoints` folder, by step."""
    found = ((step, read_set(folder)) for step, folder in set_folders(checkpoints).items())
    return {step: manifest for step, manifest in found if manifest is not None}


def set_folders(checkpoints: Path) -> dict[int, Path]:
    """Folders that are named like a set, complete or not, by step."""
    try:
        folders = [(SET_NAME.fullmatch(each.name), each) for each in checkpoints.iterdir()]
    except OSError:
        return {}
    return {int(match[1]): folder for match, folder in folders if match}


def best_step(data: bytes) -> int | None:
    """The step that a best.json names."""
    try:
        value = parse_json(data)
    except ValueError:
        return None
    step = value.get("step") if isinstance(value, dict) else None
    return step if _count(step) else None


def _object(data: bytes, where: str) -> dict[str, Any]:
    try:
        value = parse_json(data)
    except ValueError as error:
        raise _bad("it is not JSON", where) from error
    if not isinstance(value, dict) or value.get("format") != 1:
        raise _bad("its format is not 1; it may come from a newer launcher", where)
    return value


def _entries(value: dict[str, Any], where: str) -> tuple[ManifestFile, ...]:
    entries, names = [], set()
    files = value.get("files")
    if not isinstance(files, list):
        raise _bad("'files' is not a list", where)
    for item in files:
        if not isinstance(item, dict):
            raise _bad("an entry is not an object", where)
        name, size, sha256 = item.get("name"), item.get("size"), item.get("sha256")
        if not isinstance(name, str) or key_problem(name) or name in names:
            raise _bad(f"the name {str(name)[:80]!r} is not usable", where)
        if not _count(size) or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
            raise _bad(f"size or sha256 of {name!r} is not usable", where)
        names.add(name)
        entries.append(ManifestFile(name, size, sha256))
    return tuple(entries)


def _count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _bad(what: str, where: str) -> IntegrityError:
    return IntegrityError(f"the manifest can't be used: {what}", where=where)
