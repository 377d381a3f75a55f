"""The index of runs on this machine: one small file per run under `$LAUNCHER_HOME/runs`.

It is a cache. A run's own folder in the store is the truth, and a run can always be named by that folder's URL.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from launcher.backends.base import Handle
from launcher.disk import write_private
from launcher.errors import IntegrityError, NoSuchRun, NotFound, StoreError
from launcher.runfolder import paths
from launcher.runfolder.smallfiles import read_small, read_small_object
from launcher.runfolder.states import NodeStatus, RunState, State
from launcher.storage.address import StoreAddress
from launcher.storage.registry import absolute_url

Form = TypeVar("Form", bound=BaseModel)
_ENTRY = re.compile(r"[A-Za-z0-9_-]{1,64}-[0-9]{8}-[0-9]{6}-[0-9a-f]{4}\.json")
ENTRY_BYTES = 16 << 10
"""An entry is smaller, unless the run had hundreds of machines."""


def new_run_id(name: str, now: float | None = None) -> str:
    """`<name>-<yyyymmdd>-<hhmmss>-<4 hex>`, UTC."""
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{secrets.token_hex(2)}"


_time_part = itemgetter(slice(-20, None))
"""The end of a run id, which sorts by age: yyyymmdd-hhmmss-abcd."""


def newest_first(run_ids: Iterable[str]) -> list[str]:
    """In the order of the time in the id."""
    return sorted(run_ids, key=_time_part, reverse=True)


class RunEntry(BaseModel):
    """What this machine remembers of a run. `final` and `final_nodes` are its state and heartbeats after its end.

    `claim`: the token by which this machine took the attempt that it started last.
    `named_by_url`: only the folder behind the URL is meant, and nothing of this machine belongs to it. Its store is reached as
    the command line and the environment say, never as a file in that folder says.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_id: str
    name: str
    backend: str
    submitted_at: float
    store: StoreAddress
    work_dir: str
    group: str = ""
    labels: dict[str, str] = {}
    handle: Handle | None = None
    final: RunState | None = None
    final_nodes: tuple[NodeStatus, ...] | None = None
    claim: str = ""
    rehearsal: bool = False
    named_by_url: bool = Field(False, exclude=True)

    @property
    def is_here(self) -> bool:
        """Whether the run's directory, if there is one on this machine, has what the run wrote."""
        return not self.named_by_url and (self.handle is None or self.handle.host == socket.gethostname())

    @property
    def run_dir(self) -> paths.RunDir:
        return paths.RunDir(Path(self.work_dir) / self.run_id)


class GlancedEnd(BaseModel):
    """`final` of an entry, as far as a list is filtered by it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: State


class Glance(BaseModel):
    """What a list is filtered by: a tenth of the work of reading the whole entry."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_id: str
    backend: str
    submitted_at: float
    group: str = ""
    final: GlancedEnd | None = None


class Index:
    """All methods are safe to use from several processes at once: a file per run, replaced atomically."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or paths.home() / "runs"

    def put(self, entry: RunEntry) -> None:
        write_private(self.root / f"{entry.run_id}.json", entry.model_dump_json(indent=1) + "\n")

    def check_room(self) -> None:
        """Raises StoreError when no entry can be written: before a run starts, as nobody would know of it afterwards."""
        probe = self.root / f".room-{os.getpid()}"
        write_private(probe, " " * ENTRY_BYTES)
        probe.unlink(missing_ok=True)

    def keep_end(self, entry: RunEntry, state: RunState, nodes: tuple[NodeStatus, ...]) -> None:
        """Remember how a run ended, so that the next look needs no store. Nothing is kept for an entry that was removed
        meanwhile, or that is now of a later attempt, nor on a disk that takes nothing."""
        newest = self.get(entry.run_id)
        if newest is not None and newest.handle == entry.handle:
            with suppress(StoreError):
                self.put(newest.model_copy(update={"final": state, "final_nodes": nodes}))

    def remove(self, run_id: str) -> None:
        (self.root / f"{run_id}.json").unlink(missing_ok=True)

    def ids(self) -> list[str]:
        """Newest first."""
        return newest_first(self.unordered())

    def unordered(self) -> list[str]:
        """The same in any order: of 100,000 the order takes as long as the names."""
        try:
            names = filter(_ENTRY.fullmatch, os.listdir(self.root))  # noqa: PTH208 - 100,000 of them
        except OSError:  # not there yet, or not a folder: `put` says so
            return []
        return [name[:-5] for name in names]

    def get(self, run_id: str) -> RunEntry | None:
        """None for a run that is not here, or whose file can't be read."""
        return self._read(run_id, RunEntry)

    def glance(self, run_id: str) -> Glance | None:
        """As `get`."""
        return self._read(run_id, Glance)

    def _read(self, run_id: str, form: type[Form]) -> Form | None:
        try:
            return form.model_validate_json(read_small(f"{self.root}/{run_id}.json"))
        except (OSError, IntegrityError, ValueError):
            return None

    def newest(self, entry: RunEntry) -> RunEntry:
        """The entry as it is now: another command may have changed it."""
        return entry if entry.named_by_url else self.get(entry.run_id) or entry

    def entries(self) -> Iterator[RunEntry]:
        """Newest first, read one by one."""
        for run_id in self.ids():
            if entry := self.get(run_id):
                yield entry

    def _last(self, ids: list[str]) -> list[str]:
        """The newest run, a rehearsal never. A sweep submits several within a second: then the one that was submitted last."""
        newest: RunEntry | None = None
        for run_id in ids:
            if newest is not None and _time_part(run_id)[:15] != _time_part(newest.run_id)[:15]:
                break
            entry = self.get(run_id)
            if entry is None or entry.rehearsal:
                continue
            if newest is None or entry.submitted_at > newest.submitted_at:
                newest = entry
        return [newest.run_id] if newest else []

    def of_folder(self, address: StoreAddress) -> RunEntry | None:
        """The run that this machine keeps in this very folder; None for another folder, such as a copy."""
        entry = self.get(address.url.rpartition("/")[2])
        return entry if entry is not None and entry.store.url == address.url else None

    def find(self, reference: str, store: StoreAddress | None = None) -> RunEntry:
        """A run by id, unique prefix, `last`, or the URL or path of its folder. Raises NoSuchRun, StoreError for a URL.

        `store` has the endpoint and other settings for a URL; what it leaves out comes from the environment.
        """
        if "/" in reference:
            address = _folder_address(reference, store)
            kept = self.of_folder(address) if store is None else None
            return kept or entry_of_url(reference, store)
        ids = self.ids()
        if reference == "last":
            candidates = self._last(ids)
        else:
            candidates = [reference] if reference in ids else [i for i in ids if i.startswith(reference)]
        if len(candidates) > 1:
            some = ", ".join(candidates[:4]) + (" …" if len(candidates) > 4 else "")
            raise NoSuchRun(
                f"'{reference}' fits {len(candidates)} runs: {some}", hint="type more of the run id"
            )
        entry = self.get(candidates[0]) if candidates else None
        if entry is None:
            known = (
                f"the newest is {ids[0]}"
                if ids
                else f"no run has been submitted with LAUNCHER_HOME={self.root.parent}"
            )
            raise NoSuchRun(
                f"no run '{reference}' in the index of this machine; {known}",
                hint="a run of another machine is named by its folder's URL: obs://bucket/runs/<run id>",
            )
        return entry


def _folder_address(url: str, store: StoreAddress | None) -> StoreAddress:
    url = absolute_url(url, Path.cwd()).rstrip("/")
    return store.model_copy(update={"url": url}) if store else StoreAddress(url=url)


def entry_of_url(url: str, store: StoreAddress | None = None) -> RunEntry:
    """The entry of a run that only its folder in the store is known of. Raises NoSuchRun, StoreError, PlanError."""
    from launcher.plan.model import (
        Plan,  # nothing else here needs it, and no import of a status is slower
    )

    address = _folder_address(url, store)
    name, where = urlsplit(address.url).path.rsplit("/", 1)[-1], f"{address.url}/{paths.PLAN}"
    try:
        plan = Plan.read(read_small_object(address.open(), paths.PLAN), where)
    except NotFound as error:
        raise NoSuchRun(
            f"no run's folder at {address.url}: it has no {paths.PLAN}",
            hint=f"the last part of the URL is the run id, not '{name}'",
        ) from error
    return RunEntry(
        run_id=plan.run_id,
        name=plan.name,
        backend=plan.backend,
        submitted_at=0.0,
        store=address,
        work_dir=plan.work_dir,
        named_by_url=True,
    )
