"""Writes checkpoint sets beside training, and removes old ones."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from vitmodels.errors import CheckpointError
from vitmodels.progress import write_json
from vitmodels.training.checkpoint import Snapshot, list_sets, read_best, remove_set, set_pieces

GENTLE = "checkpoint at low priority"
PRIORITY = 15
"""About 3 % of a core that a step needs, too; less would keep training waiting where the writer has Python's lock."""
SHARE = 1 / 8
"""The most that the gentle writer takes of a free core. On two cores a step beside a set of TNT-S is then 1 to 8 % longer, without pauses 24 %."""
GIVES_WAY_S = 10.0


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
    """Writes sets one at a time beside training; a failure surfaces at the next call.

    A thread of low priority writes, with pauses, which steps hardly feel. Another one, of usual priority, writes the rest at
    once as soon as somebody waits for the set or `GIVES_WAY_S` are over: no load may hold a set back.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self._keep = keep
        self._thread: threading.Thread | None = None
        self.hurry = threading.Event()  # somebody waits
        self._error: BaseException | None = None

    @property
    def busy(self) -> bool:
        """Whether a set is being written."""
        return self._thread is not None and self._thread.is_alive()

    def save(self, snapshot: Snapshot, best: Mapping[str, Any] | None = None) -> None:
        """Start writing; waits first for a set still being written. `best` replaces best.json afterwards."""
        self.join()
        self.hurry.clear()
        pieces = self._pieces(snapshot, best)
        self._thread = threading.Thread(target=self._run, args=(pieces,), name="checkpoint", daemon=True)
        self._thread.start()

    def join(self) -> float:
        """Wait until everything is on disk; returns the seconds. Raises CheckpointError when writing failed."""
        begin = time.monotonic()
        if self._thread is not None:
            self.hurry.set()
            self._thread.join()
            self._thread = None
        self.check()
        return time.monotonic() - begin

    def check(self) -> None:
        """Raises CheckpointError when writing has failed. Does not wait."""
        if self._error is not None:
            error, self._error = self._error, None
            raise CheckpointError(f"can't write a checkpoint: {error}") from error

    def _run(self, pieces: Iterator[None]) -> None:
        try:
            gentle = threading.Thread(target=self._give_way, args=(pieces,), name=GENTLE, daemon=True)
            gentle.start()
            gentle.join()
            for _ in pieces:
                pass
        except BaseException as error:
            self._error = error

    def _give_way(self, pieces: Iterator[None]) -> None:
        """Write with pauses and at a low priority, which Linux has for each thread, as long as nobody waits."""
        end = time.monotonic() + GIVES_WAY_S
        try:
            if sys.platform == "linux":
                with suppress(OSError):
                    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), PRIORITY)
            used = time.thread_time()
            for _ in pieces:
                before, used = used, time.thread_time()
                pause = min((used - before) * (1 / SHARE - 1), end - time.monotonic())
                if self.hurry.wait(pause) or time.monotonic() > end:
                    return
        except BaseException as error:
            self._error = error

    def _pieces(self, snapshot: Snapshot, best: Mapping[str, Any] | None) -> Iterator[None]:
        yield from set_pieces(self._folder, snapshot)
        if best is not None:
            write_json(self._folder / "best.json", dict(best))
        yield
        prune(self._folder, self._keep)
