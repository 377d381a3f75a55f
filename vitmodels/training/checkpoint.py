"""Checkpoint sets: complete or absent, newest by step number, written without stalling training.

A set is a folder `checkpoints/step-<n>` with `model.safetensors` (the weights under timm's names),
`state.safetensors` (optimiser moments, averaged weights, loss scaler) and `manifest.json`, written last.
The folder has a temporary name until every file and the manifest are on disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vitmodels.errors import CheckpointError
from vitmodels.progress import write_json

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

    def verify(self) -> None:
        """Raises CheckpointError when a file is not what the manifest says."""
        for entry in self.manifest["files"]:
            path = self.path / entry["name"]
            if not path.is_file() or path.stat().st_size != entry["size"] or _sha256(path) != entry["sha256"]:
                raise CheckpointError(f"{path} is not what the manifest says")

    def weights(self, *, averaged: bool = True) -> dict[str, np.ndarray]:
        """The model's weights by name; the averaged ones where the run has an average."""
        weights = _load(self.path / MODEL_FILE)
        if averaged:
            state = self.state()
            weights.update(
                {k.removeprefix(EMA_PREFIX): v for k, v in state.items() if k.startswith(EMA_PREFIX)}
            )
        return weights

    def state(self) -> dict[str, np.ndarray]:
        """Everything besides the weights."""
        return _load(self.path / STATE_FILE)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own class, which is not public
        raise CheckpointError(f"can't read {path}: {error}") from error


def read_set(path: Path) -> CheckpointSet | None:
    """The set in a folder, or None when it is not complete. Sizes are checked, contents by `verify`."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        complete = (
            manifest["format"] == FORMAT
            and isinstance(manifest["step"], int)
            and isinstance(manifest["epoch"], int)
        )
        complete = complete and all((path / e["name"]).stat().st_size == e["size"] for e in manifest["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return CheckpointSet(path, manifest) if complete else None


def list_sets(folder: Path) -> tuple[list[CheckpointSet], list[Path]]:
    """Complete sets by rising step, and the folders that look like sets but are not."""
    good, torn = [], []
    for path in sorted(folder.glob("step-*")) if folder.is_dir() else []:
        match = _NAME.match(path.name)
        if match is None or not path.is_dir():
            continue
        complete = read_set(path)
        if complete is None or complete.step != int(match[1]):
            torn.append(path)
        else:
            good.append(complete)
    return sorted(good, key=lambda one: one.step), torn


def newest_set(folder: Path) -> tuple[CheckpointSet | None, list[str]]:
    """The newest set whose contents are what its manifest says, and a warning for each one passed over."""
    good, torn = list_sets(folder)
    warnings = [f"{path.name} is not complete and is passed over" for path in torn]
    for candidate in reversed(good):
        try:
            candidate.verify()
        except CheckpointError as error:
            warnings.append(f"{candidate.path.name} is damaged and is passed over: {error}")
            continue
        return candidate, warnings
    return None, warnings


def find_set(run_dir: Path, which: str) -> CheckpointSet:
    """The set that `latest`, `best` or a path names, verified. Raises CheckpointError."""
    folder = run_dir / "checkpoints"
    if which == "latest":
        chosen, _ = newest_set(folder)
        if chosen is None:
            raise CheckpointError(f"no complete checkpoint in {folder}")
        return chosen
    path = Path(which)
    if which == "best":
        best = read_best(folder)
        if best is None:
            raise CheckpointError(f"{folder}/best.json names no checkpoint", hint="use latest")
        path = folder / f"step-{best['step']}"
    chosen = read_set(path)
    if chosen is None:
        raise CheckpointError(f"{path} is not a complete checkpoint")
    chosen.verify()
    return chosen


def read_best(folder: Path) -> dict[str, Any] | None:
    """The content of best.json: {"step", "top1"}, or None."""
    try:
        best = json.loads((folder / "best.json").read_text(encoding="utf-8"))
        return best if isinstance(best["step"], int) and isinstance(best["top1"], float | int) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_set(folder: Path, snapshot: Snapshot) -> Path:
    """Write one set; when this returns it is on disk under its final name."""
    from safetensors.numpy import save

    final = folder / f"step-{snapshot.step}"
    temp = folder / f".tmp-step-{snapshot.step}-{os.getpid()}"
    shutil.rmtree(temp, ignore_errors=True)
    temp.mkdir(parents=True)
    files = []
    for name, arrays in ((MODEL_FILE, snapshot.weights), (STATE_FILE, snapshot.state)):
        data = save({key: np.ascontiguousarray(value) for key, value in arrays.items()})
        _write_synced(temp / name, data)
        files.append({"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()})
        del data
    manifest = {
        "format": FORMAT,
        "step": snapshot.step,
        "epoch": snapshot.epoch,
        "arch": snapshot.arch,
        "files": files,
        "metrics": dict(snapshot.metrics),
        "kind": "train-state",
        **snapshot.extra,
    }
    _write_synced(temp / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
    _sync_dir(temp)
    if final.exists():
        _remove(final)
    temp.rename(final)
    _sync_dir(folder)
    return final


def prune(folder: Path, keep: int) -> None:
    """Remove the oldest complete sets beyond `keep`; the best one stays and is not counted."""
    best = read_best(folder)
    best_step = best["step"] if best else None
    good, _ = list_sets(folder)
    others = [one for one in good if one.step != best_step]
    for old in others[: max(0, len(others) - keep)]:
        _remove(old.path)


def clean(folder: Path) -> None:
    """Remove the temporary folders of writers that were killed."""
    for path in folder.glob(".*") if folder.is_dir() else []:
        if path.name.startswith((".tmp-step-", ".gone-")):
            shutil.rmtree(path, ignore_errors=True)


def _remove(path: Path) -> None:
    renamed = path.with_name(f".gone-{path.name}-{os.getpid()}")
    shutil.rmtree(renamed, ignore_errors=True)
    path.rename(renamed)
    shutil.rmtree(renamed, ignore_errors=True)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_dir(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Saver:
    """Writes sets one at a time in a background thread; a failure surfaces at the next call."""

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self._keep = keep
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self.last_seconds = 0.0

    def save(self, snapshot: Snapshot, best: Mapping[str, Any] | None = None) -> None:
        """Start writing; waits first for a set still being written. `best` replaces best.json afterwards."""
        self.join()
        self._thread = threading.Thread(
            target=self._run, args=(snapshot, best), name="checkpoint", daemon=True
        )
        self._thread.start()

    def join(self) -> None:
        """Wait until everything is on disk. Raises CheckpointError when writing failed."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise CheckpointError(f"can't write a checkpoint: {error}") from error

    def _run(self, snapshot: Snapshot, best: Mapping[str, Any] | None) -> None:
        begin = time.monotonic()
        try:
            write_set(self._folder, snapshot)
            if best is not None:
                write_json(self._folder / "best.json", dict(best))
            prune(self._folder, self._keep)
        except BaseException as error:
            self._error = error
        self.last_seconds = time.monotonic() - begin
