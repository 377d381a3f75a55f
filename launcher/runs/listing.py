"""Which runs a list shows, and how ten thousand of them are listed within a second.

A short list reads the index from the newest run on, until it has enough. A list of all runs keeps the views of ended ones in one
file beside the index, `.ended.json`. It is a cache: an entry of the index that has changed since is read again, and without the
file all entries are read.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice

from pydantic import BaseModel, ConfigDict, ValidationError

from launcher.disk import write_private
from launcher.errors import IntegrityError, StoreError
from launcher.runfolder.smallfiles import read_small
from launcher.runfolder.states import State
from launcher.runs.endings import Endings
from launcher.runs.index import Glance, Index, newest_first
from launcher.runs.nogc import no_gc
from launcher.runs.view import RunView, views

CACHE = ".ended.json"
MOST_CACHE_BYTES = 1 << 30
"""A run takes 700 bytes of it."""
CACHE_FROM = 50
"""The cache is written anew when it lacks this many ended runs."""
_BATCH = 64


@dataclass(frozen=True)
class Filter:
    """Which runs a list shows. An empty field excludes nothing. `since` in unix seconds.

    `name` is a name or a pattern with *; `group` may also be the beginning of a name, up to a hyphen.
    """

    states: Collection[State] = ()
    since: float | None = None
    name: str = ""
    backend: str = ""
    group: str = ""

    def fits_id(self, run_id: str) -> bool:
        """Whether the name fits, which is part of the run id."""
        name = run_id[: -len("-yyyymmdd-hhmmss-abcd")]
        return not self.name or name == self.name or fnmatchcase(name, self.name)

    def _fits_group(self, group: str) -> bool:
        name = self.group
        return not name or group.startswith(f"{name}-") or fnmatchcase(group, name)

    def fits(self, view: RunView) -> bool:
        return (not self.states or view.state in self.states) and self._fits_fixed(view)

    @property
    def by_id_only(self) -> bool:
        return not (self.states or self.since or self.backend or self.group)

    @property
    def only_live(self) -> bool:
        """Whether no run that has ended fits."""
        return bool(self.states) and not any(state.terminal for state in self.states)

    def may_fit(self, glance: Glance) -> bool:
        """Whether the view of a run can fit: what is in the index decides where it can't change."""
        in_states = not self.states or glance.final is None or glance.final.state in self.states
        return in_states and self._fits_fixed(glance)

    def _fits_fixed(self, run: RunView | Glance) -> bool:
        return (
            (self.since is None or run.submitted_at >= self.since)
            and self.backend in ("", run.backend)
            and self._fits_group(run.group)
        )


class _Cache(BaseModel):
    model_config = ConfigDict(frozen=True)

    mtimes: dict[str, int]
    views: tuple[RunView, ...]


def select(
    index: Index, wanted: Filter, limit: int | None, ids: Sequence[str] | None = None
) -> list[RunView]:
    """The newest `limit` runs (None: all) that fit, newest first. A store that does not answer makes its runs UNKNOWN.

    `ids` are those of the index in any order, where the caller has them.
    """
    ids = index.unordered() if ids is None else ids
    if wanted.name:
        ids = [run_id for run_id in ids if wanted.fits_id(run_id)]
    if limit is not None or wanted.only_live:
        fitting = newest_first(ids) if wanted.by_id_only else _fitting(index, ids, wanted)
        return list(islice(filter(wanted.fits, _fresh(index, fitting)), limit))
    return list(filter(wanted.fits, _cached(index, newest_first(ids))))


def _fresh(index: Index, ids: Iterable[str]) -> Iterator[RunView]:
    """Views in the order of `ids`, some entries at a time, so that a short list reads few files."""
    rest = iter(ids)
    while some := list(islice(rest, _BATCH)):
        yield from views([entry for run_id in some if (entry := index.get(run_id))], index)


def _fitting(index: Index, ids: Sequence[str], wanted: Filter) -> Iterator[str]:
    """Runs that may fit, newest first. Of those that are known to have ended in another state nothing is read."""
    endings = Endings(index, len(ids)) if wanted.states else None
    for run_id in newest_first(endings.possible(ids, wanted.states) if endings else ids):
        glance = index.glance(run_id)
        if endings and glance and glance.final:
            endings.note(run_id, glance.final.state)
        if glance and wanted.may_fit(glance):
            yield run_id
    if endings:
        endings.keep()


def _cached(index: Index, ids: list[str]) -> list[RunView]:
    mtimes = _mtimes(index)
    with no_gc():
        old = _read(index)
    known = {
        view.run_id: view
        for view in (old.views if old else ())
        if old and old.mtimes.get(view.run_id) == mtimes.get(view.run_id)
    }
    unknown = [run_id for run_id in ids if run_id not in known]
    fresh = {view.run_id: view for view in _fresh(index, unknown)}
    if sum(view.state.terminal for view in fresh.values()) >= CACHE_FROM:
        _write(index, {**known, **fresh})
    return [view for run_id in ids if (view := known.get(run_id) or fresh.get(run_id))]


def _mtimes(index: Index) -> dict[str, int]:
    try:
        with os.scandir(index.root) as entries:
            return {
                each.name[:-5]: each.stat().st_mtime_ns for each in entries if each.name.endswith(".json")
            }
    except FileNotFoundError:
        return {}


def _read(index: Index) -> _Cache | None:
    try:
        return _Cache.model_validate_json(read_small(index.root / CACHE, MOST_CACHE_BYTES))
    except (OSError, IntegrityError, ValidationError):
        return None


def _write(index: Index, views_by_id: dict[str, RunView]) -> None:
    """Only runs whose end is in the index: the time of that file tells whether the cached view is still right."""
    mtimes = _mtimes(index)
    ended = [
        view
        for run_id, view in views_by_id.items()
        if view.state.terminal and (entry := index.get(run_id)) and entry.final is not None
    ]
    cache = _Cache(
        mtimes={view.run_id: mtimes[view.run_id] for view in ended if view.run_id in mtimes},
        views=tuple(ended),
    )
    with contextlib.suppress(StoreError, OSError):
        write_private(index.root / CACHE, cache.model_dump_json(exclude_defaults=True))


def parse_states(words: Collection[str]) -> frozenset[State]:
    """States of `FAILED`, `failed,cancelled`, `ended` or `live`. Raises ValueError with the valid words."""
    states: set[State] = set()
    for word in (part.strip() for text in words for part in re.split(r"[,\s]+", text)):
        if word.lower() in ("ended", "live"):
            states |= {state for state in State if state.terminal is (word.lower() == "ended")}
        elif word.upper() in State.__members__:
            states.add(State(word.upper()))
        elif word:
            names = ", ".join(state.value.lower() for state in State)
            raise ValueError(f"expected ended, live or one of {names}, found '{word}'")
    return frozenset(states)
