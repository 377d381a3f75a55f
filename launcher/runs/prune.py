"""Finds what takes room on this machine and is not needed any more, and removes it. Finding changes nothing."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from launcher.disk import LockTimeout, locked
from launcher.errors import LauncherError
from launcher.runfolder import paths
from launcher.runfolder.states import State
from launcher.runs.index import Index, RunEntry
from launcher.runs.onlyhere import only_here
from launcher.runs.view import RunView, view_of

SHOWN = 5
Kind = Literal["work folder", "index entry", "data set", "rehearsal"]


@dataclass(frozen=True, slots=True)
class Item:
    """Something that may be removed. `why` tells people why nothing is lost."""

    kind: Kind
    name: str
    path: Path
    bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A work folder that must stay: the names of results that only this disk has, or why nobody can tell."""

    run_id: str
    why: str
    names: tuple[str, ...] = ()


def find_items(
    index: Index,
    *,
    older_than_s: float,
    kinds: Sequence[Kind],
    unsafe: bool = False,
    home: Path | None = None,
    cache_dir: Path | None = None,
    now: float | None = None,
    on_kept: Callable[[Kept], None] = lambda kept: None,
) -> list[Item]:
    """Reads only. Leaves out runs that have not ended, and work folders that may hold what the store does not have.

    Data sets (in `cache_dir`, default `$LAUNCHER_HOME/cache`) are left out while any run of this machine lives.
    `unsafe` also takes work folders of failed and cancelled runs whose results are not all in the store.
    `on_kept` gets the work folders of ended runs that must stay. The disk is compared with the manifest and with the store,
    so this takes some time for each run.
    """
    root = home or paths.home()
    before = (time.time() if now is None else now) - older_than_s
    items: list[Item] = []
    if "work folder" in kinds or "index entry" in kinds:
        for entry in index.entries():
            items += [item for item in _of_run(entry, index, before, unsafe, on_kept) if item.kind in kinds]
    if "data set" in kinds:
        items += _data_sets(cache_dir or root / "cache", before) if not _live_here(index) else []
    if "rehearsal" in kinds:
        items += _rehearsals(root / "rehearsal", before, index)
    return items


def remove(item: Item) -> bool:
    """False when part of it is left, or it is in use."""
    if item.kind == "data set":
        return _remove_data_set(item.path)
    if item.path.is_dir():
        shutil.rmtree(item.path, ignore_errors=True)
    else:
        item.path.unlink(missing_ok=True)
    return not item.path.exists()


def folder_bytes(folder: Path) -> int:
    """Bytes on the disk; links are not followed, and files that vanish meanwhile are not counted."""
    total = 0
    for here, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(here) / name).lstat().st_blocks * 512
            except OSError:
                continue
    return total


def _of_run(
    entry: RunEntry, index: Index, before: float, unsafe: bool, on_kept: Callable[[Kept], None]
) -> Iterator[Item]:
    if entry.submitted_at > before:
        return
    view = view_of(entry, index)
    if not view.state.terminal or (view.ended_at or view.submitted_at) > before:
        return
    folder = entry.run_dir.root
    if folder.is_dir():
        kept = _kept(entry, view)
        if kept and not unsafe:
            on_kept(kept)
        else:
            yield Item("work folder", entry.run_id, folder, folder_bytes(folder), _why(entry, view, kept))
    yield Item(
        "index entry",
        entry.run_id,
        index.root / f"{entry.run_id}.json",
        0,
        f"{view.state}; the run stays in {entry.store.url}",
    )


def _why(entry: RunEntry, view: RunView, kept: Kept | None) -> str:
    """Why the folder on this disk may go; with `kept`, what is lost with it."""
    if kept:
        return f"{view.state}; NOT everything is in the store: {kept.why}"
    back = "" if view.state is State.SUCCEEDED else ", `launcher resume` brings it back"
    return f"{view.state}; everything is in {entry.store.url}{back}"


def _kept(entry: RunEntry, view: RunView) -> Kept | None:
    """Why the folder must stay: by the run's own words, and by a comparison of this disk with the store."""
    if view.unsafe:
        return Kept(entry.run_id, "; ".join(each.words() for each in view.unsafe))
    if view.unsafe is None and view.state is not State.SUCCEEDED:
        return Kept(entry.run_id, "the run did not say whether the store has all of its results")
    try:
        lost = only_here(entry)
    except (LauncherError, OSError) as error:
        return Kept(entry.run_id, f"nobody can tell what the store has: {error}")
    if not lost:
        return None
    shown = "; ".join(f"{each.name} {each.why}" for each in lost[:SHOWN])
    more = f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
    return Kept(entry.run_id, f"{shown}{more}", tuple(each.name for each in lost))


def _live_here(index: Index) -> bool:
    return any(
        not view_of(entry, index).state.terminal for entry in index.entries() if entry.run_dir.root.is_dir()
    )


def _data_sets(cache: Path, before: float) -> Iterator[Item]:
    """Staged data sets that were last used before `before`. Called while no run uses any."""
    for folder in sorted((cache / "datasets").glob("*")):
        if not folder.is_dir():
            continue
        try:
            used = max(
                (folder / name).stat().st_mtime
                for name in ("COMPLETE.json", "listing.tsv", ".")
                if (folder / name).exists()
            )
        except OSError:
            continue
        if used <= before:
            yield Item(
                "data set", folder.name[:12], folder, folder_bytes(folder), "the next run stages it again"
            )


def _rehearsals(folder: Path, before: float, index: Index) -> Iterator[Item]:
    for each in sorted(folder.glob("*")):
        if each.is_dir() and each.stat().st_mtime <= before:
            entry = index.get(each.name)
            if entry is None or view_of(entry, index).state.terminal:
                yield Item("rehearsal", each.name, each, folder_bytes(each), "made by a rehearsal")


def _remove_data_set(folder: Path) -> bool:
    """Under the lock that staging takes, so that no run fills or checks it meanwhile."""
    try:
        with locked(folder.with_name(folder.name + ".lock"), timeout_s=0):
            (folder / "COMPLETE.json").unlink(
                missing_ok=True
            )  # first, so that half of it is never taken for all
            shutil.rmtree(folder, ignore_errors=True)
            folder.with_name(folder.name + ".status.json").unlink(missing_ok=True)
    except LockTimeout:
        return False
    return not folder.exists()
