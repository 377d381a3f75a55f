"""Checkpoint sets: complete or absent, newest by step number, written without stalling training.

A set is a folder `checkpoints/step-<n>` with `model.safetensors` (the weights under timm's names),
`state.safetensors` (optimiser moments, averaged weights, loss scaler) and `manifest.json`, written last.
The folder has a temporary name until every file and the manifest are on disk. Whoever reads a file of a set
compares it with the manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vitmodels.errors import CheckpointError
from vitmodels.nets.safetensorsfile import safetensors_pieces
from vitmodels.nets.weightfiles import CLASS_KEYS

FORMAT = 1
MANIFEST = "manifest.json"
MODEL_FILE = "model.safetensors"
STATE_FILE = "state.safetensors"
EMA_PREFIX = "ema."
_NAME = re.compile(r"^step-(0|[1-9][0-9]*)$")


@dataclass(frozen=True)
class Snapshot:
    """Everything that a resumed run needs, as host arrays. Arrays must not change after it is made."""

    step: int
    epoch: int
    arch: str
    weights: Mapping[str, np.ndarray]
    state: Mapping[str, np.ndarray]
    metrics: Mapping[str, float] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckpointSet:
    """A complete set on disk and its manifest."""

    path: Path
    manifest: dict[str, Any]

    @property
    def step(self) -> int:
        return int(self.manifest["step"])

    @property
    def epoch(self) -> int:
        return int(self.manifest["epoch"])

    def read(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of one file. Raises CheckpointError when it is not what the manifest says."""
        from safetensors.numpy import load

        data = self._content(name)
        try:
            return dict(load(data))
        except Exception as error:  # safetensors raises its own class, which is not public
            raise CheckpointError(f"can't read {self.path / name}: {error}") from error

    def verify(self) -> None:
        """Raises CheckpointError when a file is not what the manifest says."""
        for entry in self.manifest["files"]:
            self._content(entry["name"])

    def _content(self, name: str) -> bytes:
        path = self.path / name
        entry = next((entry for entry in self.manifest["files"] if entry["name"] == name), None)
        if entry is None:
            raise CheckpointError(f"the manifest of {self.path} names no {name}")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"can't read {path}: {error.strerror}") from error
        if len(data) != entry["size"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise CheckpointError(f"{path} is not what the manifest says")
        return data

    def weights(self) -> dict[str, np.ndarray]:
        """The model's own weights by name."""
        return self.read(MODEL_FILE)

    def averages(self) -> dict[str, np.ndarray]:
        """The averaged weights by name; empty when the training kept no average."""
        state = self.state()
        return {k.removeprefix(EMA_PREFIX): v for k, v in state.items() if k.startswith(EMA_PREFIX)}

    def state(self) -> dict[str, np.ndarray]:
        """Everything besides the weights."""
        return self.read(STATE_FILE)


@dataclass(frozen=True)
class Skipped:
    """A set that can't be used, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path.name} is skipped: {self.reason}"


def read_set(path: Path) -> CheckpointSet | None:
    """The set in a folder, or None when it is not complete. Sizes are checked; contents when they are read."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        complete = (
            manifest["format"] == FORMAT
            and isinstance(manifest["step"], int)
            and isinstance(manifest["epoch"], int)
        )
        complete = complete and all((path / e["name"]).stat().st_size == e["size"] for e in manifest["files"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return CheckpointSet(path, manifest) if complete else None


def step_of(path: Path) -> int | None:
    """88 for a folder called step-88; None for any other name."""
    match = _NAME.match(path.name)
    return int(match[1]) if match and path.is_dir() else None


def list_sets(folder: Path) -> list[CheckpointSet]:
    """Complete sets by rising step."""
    sets = []
    for path in folder.glob("step-*") if folder.is_dir() else []:
        one = read_set(path)
        if one is not None and one.step == step_of(path):
            sets.append(one)
    return sorted(sets, key=lambda one: one.step)


def newest_set(folder: Path) -> tuple[CheckpointSet | None, list[Skipped]]:
    """The newest set whose contents are what its manifest says, and the newer ones, which are damaged."""
    steps = {step: path for path in folder.glob("step-*") if (step := step_of(path)) is not None}
    skipped: list[Skipped] = []
    for step in sorted(steps, reverse=True):
        try:
            return checked_set(steps[step]), skipped
        except CheckpointError as error:
            skipped.append(Skipped(steps[step], error.what))
    return None, skipped


def checked_set(path: Path) -> CheckpointSet:
    """The set in a folder, all of it read. Raises CheckpointError when it is not complete or damaged."""
    one = read_set(path)
    if one is None or step_of(path) not in (None, one.step):
        raise CheckpointError(f"{path} is not a complete checkpoint")
    one.verify()
    return one


def read_best(folder: Path) -> dict[str, Any] | None:
    """The content of best.json: {"step", "top1"}, or None."""
    try:
        best = json.loads((folder / "best.json").read_text(encoding="utf-8"))
        return best if isinstance(best["step"], int) and isinstance(best["top1"], float | int) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def write_set(folder: Path, snapshot: Snapshot) -> Path:
    """Write one set; when this returns it is on disk under its final name."""
    for _ in set_pieces(folder, snapshot):
        pass
    return folder / f"step-{snapshot.step}"


def set_pieces(folder: Path, snapshot: Snapshot) -> Generator[None, None, None]:
    """Writes one set as this is iterated over, at most 4 MiB at a time; at its end the set is on disk, with its name.

    Between two pieces another thread may continue in place of the one that began. Nearly all the time is spent in
    calls that leave the interpreter to other threads: digests and writes.
    """
    final = folder / f"step-{snapshot.step}"
    temp = folder / f".tmp-step-{snapshot.step}-{os.getpid()}"
    shutil.rmtree(temp, ignore_errors=True)
    temp.mkdir(parents=True)
    files = []
    names = {key: json.dumps(snapshot.extra[key]) for key in CLASS_KEYS if key in snapshot.extra}
    for name, arrays in ((MODEL_FILE, snapshot.weights), (STATE_FILE, snapshot.state)):
        files.append((yield from _file_pieces(temp / name, safetensors_pieces(arrays, names))))
    manifest = _manifest(snapshot, files)
    yield from _file_pieces(temp / MANIFEST, [(json.dumps(manifest, indent=2) + "\n").encode()])
    _sync_dir(temp)
    if final.exists():
        remove_set(final)
    temp.rename(final)
    _sync_dir(folder)


def _file_pieces(path: Path, pieces: Iterable[bytes | memoryview]) -> Generator[None, None, dict[str, Any]]:
    """Writes a file to the disk, and returns what a manifest says of it."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for piece in pieces:
            digest.update(piece)
            size += file.write(piece)
            yield
        file.flush()
        os.fsync(file.fileno())
    return {"name": path.name, "size": size, "sha256": digest.hexdigest()}


def _manifest(snapshot: Snapshot, files: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "step": snapshot.step,
        "epoch": snapshot.epoch,
        "arch": snapshot.arch,
        "files": files,
        "metrics": dict(snapshot.metrics),
        "kind": "train-state",
        **snapshot.extra,
    }


def remove_set(path: Path) -> None:
    """Remove a set in one step for readers: it loses its name first."""
    trash = path.with_name(f".gone-{path.name}-{os.getpid()}")
    shutil.rmtree(trash, ignore_errors=True)
    path.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)


def _sync_dir(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
