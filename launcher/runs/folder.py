"""Reads the files of a run from its directory on this machine, or else from its folder in the store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.errors import IntegrityError, LauncherError, NotFound, PlanError
from launcher.jsontext import parse_json
from launcher.portable import read_plain
from launcher.runfolder import paths
from launcher.runfolder.smallfiles import read_small, read_small_object
from launcher.runs.index import RunEntry
from launcher.storage import ObjectStore
from launcher.storage.address import StoreAddress

if TYPE_CHECKING:
    from launcher.plan.model import Plan

COPY_PATIENCE_S = 6.0
"""Patience with a store that is asked because a file of this machine is damaged."""


@dataclass(frozen=True)
class RunFolder:
    """The files of one run by their names in its folder. Methods raise StoreError when the store must be asked and fails.

    `stored` is the folder in the store of one that is read from this machine's directory: it is asked for what is lacking or
    damaged there.
    """

    source: Path | ObjectStore
    stored: StoreAddress | None = None

    @classmethod
    def of(cls, entry: RunEntry) -> RunFolder:
        """The directory on this machine when the whole run is here, else the folder in the store."""
        root = entry.run_dir.root
        if entry.is_here and any(os.path.lexists(root / name) for name in (paths.PLAN, paths.STATE)):
            return cls(root, entry.store)
        return cls(entry.store.open())

    def copy(self) -> RunFolder | None:
        """The folder in the store of one that is read from this machine. Raises LauncherError."""
        return RunFolder(self.stored.open(COPY_PATIENCE_S)) if self.stored else None

    @property
    def is_gone(self) -> bool:
        """Whether the directory on this machine was removed since, as `prune` does: the store has the rest."""
        return isinstance(self.source, Path) and not self.source.is_dir()

    @property
    def url(self) -> str:
        return str(self.source) if isinstance(self.source, Path) else self.source.url

    def sizes(self, prefix: str) -> dict[str, int]:
        """Bytes of each file below `prefix`, a folder's name with its slash."""
        if not isinstance(self.source, Path):
            return {info.key: info.size for info in self.source.list(prefix)}
        return dict(sorted(_sizes_of(_files_below(str(self.source), prefix.rstrip("/")))))

    def names(self, prefix: str) -> list[str]:
        """The files below `prefix`, in order. On this machine each size costs a call, which thousands of logs need not have."""
        if not isinstance(self.source, Path):
            return [info.key for info in self.source.list(prefix)]
        return sorted(name for name, _ in _files_below(str(self.source), prefix.rstrip("/")))

    def read(self, name: str, start: int = 0) -> bytes:
        """Bytes from `start` to the end as it is now. Raises NotFound."""
        if not isinstance(self.source, Path):
            return self.source.read(name, start)
        try:
            return read_plain(f"{self.source}/{name}", start)
        except OSError as error:
            raise NotFound("no such file in the run's directory", where=str(self.source / name)) from error

    def small(self, name: str) -> bytes:
        """A small file. Raises NotFound, and IntegrityError for one that is far too large."""
        if not isinstance(self.source, Path):
            return read_small_object(self.source, name)
        try:
            return read_small(self.source / name)
        except OSError as error:
            raise NotFound("no such file in the run's directory", where=str(self.source / name)) from error

    def json(self, name: str) -> Any:
        """The value of a JSON file; None when there is none. Raises IntegrityError for one that is damaged, here and in the store."""
        try:
            return parse_json(self.small(name))
        except NotFound:
            copy = self.copy()
            return copy.json(name) if copy else None
        except (ValueError, IntegrityError) as error:
            with suppress(LauncherError):
                if (copy := self.copy()) and (value := copy.json(name)) is not None:
                    return value
            if isinstance(error, IntegrityError):
                raise
            raise IntegrityError(f"not a JSON file: {error}", where=f"{self.url}/{name}") from error

    def object(self, name: str) -> dict[str, Any]:
        """The same for a file that holds an object; empty when there is none."""
        value = self.json(name)
        if value is not None and not isinstance(value, dict):
            raise IntegrityError(
                f"expected an object, found {type(value).__name__}", where=f"{self.url}/{name}"
            )
        return value or {}

    def json_lines(self, name: str) -> list[dict[str, Any]]:
        """The objects of a file with one a line; a line that is not whole yet is left out. Empty when there is no file."""
        try:
            lines = self.read(name).splitlines()
        except NotFound:
            return []
        rows = []
        for line in lines:
            try:
                row = parse_json(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                rows.append(row)
        return rows

    def plan(self) -> Plan:
        """The plan of the run, to be shown. Raises NotFound, PlanError."""
        from launcher.plan.model import Plan  # with all of a job file's form, which logs need not have

        try:
            return Plan.read(self.small(paths.PLAN), f"{self.url}/{paths.PLAN}")
        except (NotFound, IntegrityError, PlanError):
            with suppress(LauncherError):
                if copy := self.copy():
                    return copy.plan()
            raise


def _files_below(root: str, folder: str) -> list[tuple[str, os.DirEntry[str]]]:
    """Names from `root` on of the files in a folder and all below it, hidden ones left out. Links to folders aren't followed."""
    found: list[tuple[str, os.DirEntry[str]]] = []
    try:
        entries = list(os.scandir(f"{root}/{folder}"))
    except OSError:
        return found
    for entry in entries:
        name = f"{folder}/{entry.name}" if folder else entry.name
        if entry.is_dir(follow_symlinks=False):
            found += _files_below(root, name)
        elif not entry.name.startswith(".") and _is_file(entry):
            found.append((name, entry))
    return found


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that can't be followed
        return False


def _sizes_of(files: list[tuple[str, os.DirEntry[str]]]) -> Iterator[tuple[str, int]]:
    for name, entry in files:
        with suppress(OSError):  # removed since the folder was read
            yield name, entry.stat().st_size
