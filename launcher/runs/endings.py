"""How the runs of the index ended, without opening the file of each: a cache in `.cache/` beside these files.

Only runs that a list leaves out are left out by it; those that it shows are read. An entry counts as unchanged while its file has the time of
its last change (ctime, which no copy keeps); as long as the folder has not changed, no file is asked for that. Without the cache, or with a
damaged one, all entries are read.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from launcher.disk import write_private
from launcher.errors import IntegrityError, StoreError
from launcher.runfolder.smallfiles import read_small
from launcher.runfolder.states import State
from launcher.runs.index import Index

FOLDER = ".cache"
KEPT, SEEN = f"{FOLDER}/ended.json", f"{FOLDER}/seen.json"
KEEP_FROM = 50
"""The cache is written anew when it lacks this many ended runs."""
SETTLED_NS = 2_000_000_000
"""A folder that changed less long ago may change once more without another time."""
Form = TypeVar("Form", bound=BaseModel)


class _Kept(BaseModel):
    """Runs by state, each with the ctime of its file in ns. `token` tells this cache from others."""

    model_config = ConfigDict(frozen=True)

    token: str
    ended: dict[State, dict[str, int]]


class _Seen(BaseModel):
    """While the folder has this mtime, all of the cache with this token holds but `changed`."""

    model_config = ConfigDict(frozen=True)

    token: str
    folder_ns: int
    changed: frozenset[str]


class Endings:
    """The cache as it is, less what has changed since, and what a list finds that it lacks."""

    def __init__(self, index: Index, count: int) -> None:
        """`count`: so many runs are in the index; of few nothing is kept."""
        self._index, self._folder_ns = index, _mtime_ns(index.root)
        self._kept = _read(index.root / KEPT, _Kept) if count >= KEEP_FROM else None
        self._found: dict[str, State] = {}
        self._ctimes: Mapping[str, int] = {}
        """Empty where no file had to be asked."""
        self._changed: frozenset[str] = frozenset()
        seen = _read(index.root / SEEN, _Seen) if self._kept else None
        if self._kept and seen and (seen.token, seen.folder_ns) == (self._kept.token, self._folder_ns):
            self._changed = seen.changed
        elif count >= KEEP_FROM:
            self._ctimes = _ctimes(index)
            times = (pair for runs in self._ended.values() for pair in runs.items())
            self._changed = frozenset(run_id for run_id, ctime in times if self._ctimes.get(run_id) != ctime)

    @property
    def _ended(self) -> Mapping[State, Mapping[str, int]]:
        return self._kept.ended if self._kept else {}

    def possible(self, ids: Iterable[str], states: Collection[State]) -> list[str]:
        """Those of the runs that are not known to have ended in another state."""
        others: set[str] = set()
        for state, runs in self._ended.items():
            if state.terminal and state not in states:
                others |= runs.keys()
        others -= self._changed
        return [run_id for run_id in ids if run_id not in others]

    def note(self, run_id: str, state: State) -> None:
        """An entry that was read has this end."""
        if run_id in self._changed or not any(run_id in runs for runs in self._ended.values()):
            self._found[run_id] = state

    def keep(self) -> None:
        """Call when all runs that are possible were read: the next list then need not read them. Raises nothing."""
        if not self._ctimes:
            return
        with contextlib.suppress(StoreError, OSError):
            if len(self._found) >= KEEP_FROM:
                self._write_kept()
            if self._kept is not None:
                self._write_seen(self._kept)

    def _write_kept(self) -> None:
        states = {
            run_id: state
            for state, runs in self._ended.items()
            for run_id in runs
            if run_id not in self._changed
        }
        ended: dict[State, dict[str, int]] = {}
        for run_id, state in (states | self._found).items():
            if ctime := self._ctimes.get(run_id):
                ended.setdefault(state, {})[run_id] = ctime
        self._kept, self._changed = _Kept(token=secrets.token_hex(8), ended=ended), frozenset()
        write_private(self._index.root / KEPT, self._kept.model_dump_json())

    def _write_seen(self, kept: _Kept) -> None:
        """Not of a folder that has just changed, by the time of what holds it."""
        path = self._index.root / SEEN
        seen = _Seen(token=kept.token, folder_ns=self._folder_ns, changed=self._changed)
        write_private(path, seen.model_dump_json())
        if path.stat().st_mtime_ns - self._folder_ns < SETTLED_NS:
            path.unlink()


def _mtime_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _ctimes(index: Index) -> dict[str, int]:
    """The time of the last change of each entry, in ns."""
    try:
        with os.scandir(index.root) as entries:
            return {e.name[:-5]: e.stat().st_ctime_ns for e in entries if e.name.endswith(".json")}
    except OSError:  # gone, or one of the files just now
        return {}


def _read(path: Path, form: type[Form]) -> Form | None:
    """None for a file that is not there, is damaged, or far too large."""
    try:
        return form.model_validate_json(read_small(path))
    except (OSError, IntegrityError, ValidationError):
        return None
