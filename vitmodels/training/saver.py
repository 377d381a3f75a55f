"""Writes checkpoint sets beside training, and removes old ones."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitmodels.errors import CheckpointError
from vitmodels.progress import write_json
from vitmodels.training.checkpoint import Snapshot, list_sets, read_best, remove_set, write_set


def prune(folder: Path, keep: int) -> None:
    """Remove the oldest complete sets beyond `keep`; the best one stays and is not counted."""
    best = read_best(folder)
    best_step = best["step"] if best else None
    others = [one for one in list_sets(folder) if one.step != best_step]
    for old in others[: max(0, len(others) - keep)]:
        remove_set(old.path)


def clean(folder: Path) -> None:
    """Remove the temporary folders of writers that were killed."""
    for path in folder.glob(".*") if folder.is_dir() else []:
        if path.name.startswith((".tmp-step-", ".gone-")):
            shutil.rmtree(path, ignore_errors=True)


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
