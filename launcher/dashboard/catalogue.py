"""The runs that a dashboard shows: those of the index of this machine, and those of folders in stores."""

from __future__ import annotations

import glob
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.api import Run
from launcher.errors import LauncherError, NoSuchRun, StoreError
from launcher.runfolder.paths import CATALOGUE
from launcher.runfolder.states import State
from launcher.runs.index import Index, RunEntry, entry_of_url
from launcher.runs.listing import Filter, select
from launcher.runs.view import PATIENCE_S, RunView, views
from launcher.storage.address import StoreAddress
from launcher.storage.registry import absolute_url

PAGE = 100


@dataclass(frozen=True, slots=True)
class Query:
    """What a list shows, as it stands in the address bar. `page` counts from 0."""

    text: str = ""
    state: State | None = None
    group: str = ""
    page: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of runs, newest first. `problems`: folders that do not answer, in words."""

    views: tuple[RunView, ...]
    more: bool
    problems: tuple[str, ...] = ()


class Catalogue:
    """Every method reads anew, but for the plans of runs in folders. Safe to use from several threads."""

    def __init__(self, urls: Sequence[str] = ()) -> None:
        self.urls = tuple(absolute_url(url, Path.cwd()).rstrip("/") for url in urls)
        self._index = Index()
        self._found: dict[str, RunEntry] = {}
        self._lock = threading.Lock()

    def listing(self, query: Query) -> Listing:
        """One page. A store that does not answer makes its runs UNKNOWN, or is named as a problem."""
        wanted = Filter(
            states=(query.state,) if query.state else (), group=query.group, name=_pattern(query.text)
        )
        end = (query.page + 1) * PAGE + 1
        foreign, problems = self._foreign(query, end)
        mine = select(self._index, wanted, end)
        seen = {view.run_id for view in mine}
        both = [*mine, *(view for view in foreign if view.run_id not in seen and wanted.fits(view))]
        both.sort(key=lambda view: view.run_id[-20:], reverse=True)
        first = query.page * PAGE
        return Listing(tuple(both[first : first + PAGE]), len(both) > first + PAGE, problems)

    def run(self, run_id: str) -> Run:
        """Raises NoSuchRun, StoreError."""
        entry = self._index.get(run_id) or self._entry(run_id)
        if entry is None:
            raise NoSuchRun(f"no run {run_id} in the index or in a folder of this dashboard")
        return Run(entry, self._index)

    def _foreign(self, query: Query, limit: int) -> tuple[list[RunView], tuple[str, ...]]:
        entries, problems = [], []
        for url in self.urls:
            try:
                ids = [each for each in _ids(url) if query.text in each]
            except StoreError as error:
                problems.append(f"{url}: {error.what}")
                continue
            for run_id in sorted(ids, key=lambda each: each[-20:], reverse=True)[:limit]:
                if (entry := self._entry_at(url, run_id)) is not None:
                    entries.append(entry)
        return views(entries, self._index), tuple(problems)

    def _entry(self, run_id: str) -> RunEntry | None:
        found = (self._entry_at(url, run_id) for url in self.urls)
        return next((entry for entry in found if entry is not None), None)

    def _entry_at(self, url: str, run_id: str) -> RunEntry | None:
        """A run of a folder; its plan is read once."""
        address = f"{url}/{run_id}"
        with self._lock:
            if (known := self._found.get(address)) is not None:
                return known
        try:
            entry = entry_of_url(address)
        except LauncherError:
            return None
        with self._lock:
            self._found[address] = entry
        return entry


def _ids(url: str) -> list[str]:
    """Runs of an output folder. Raises StoreError."""
    store = StoreAddress(url=url).open(PATIENCE_S)
    return [info.key.removeprefix(CATALOGUE) for info in store.list(CATALOGUE)]


def _pattern(text: str) -> str:
    return f"*{glob.escape(text)}*" if text else ""
