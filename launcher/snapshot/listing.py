"""The files of a folder that a snapshot begins with: what git tracks or would track, and outside of git all files.

Never among them: what git, Python and its tools keep for themselves, virtual environments, and folders of runs.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MOST_ENTRIES = 50_000
"""A walk ends after so many; the folders that it has not seen by then are too large."""
_NEVER = {
    *(".git", ".hg", ".svn", ".venv", ".tox", ".nox", "__pycache__", "node_modules", ".ipynb_checkpoints"),
    *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".cache", "kernel_meta"),
}
_ENVIRONMENT = ("pyvenv.cfg", "conda-meta")
_RUN = ("plan.json", "state.json")
_GIT_S = 30


@dataclass(frozen=True, slots=True)
class Found:
    """One file or symbolic link, by its place below the folder. `target` is what a link says; `mtime_s` is whole seconds."""

    name: str
    path: Path
    size: int = 0
    mtime_s: int = 0
    mode: int = 0o644
    target: str = ""


@dataclass(slots=True)
class Listing:
    """`unreadable` and `unseen` are folders that can't be read, and those that the walk did not come to."""

    files: dict[str, Found] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)


class Lister:
    """Lists below one folder. `excluded` are whole paths of folders that are never part of it."""

    def __init__(self, root: Path, excluded: tuple[Path, ...] = ()) -> None:
        self._root = root
        roots = (root, root.resolve())
        self._excluded = {
            each.relative_to(above).as_posix()
            for each in excluded
            for above in roots
            if each.is_relative_to(above)
        } - {"."}
        self._skipped: dict[str, bool] = {"": False}

    def all_files(self) -> Listing:
        """What git tracks or would track; all files where there is no git."""
        names = _git_files(self._root)
        if not names:  # also a folder that its repository ignores as a whole
            return self.below("")
        listing = Listing()
        for name in names:
            if not self.skips(name.rpartition("/")[0]) and not name.endswith(".pyc"):
                _add(listing, name, self._root / name)
        return listing

    def below(self, folder: str) -> Listing:
        """All files below a folder, whatever git says. Near ones come first."""
        listing, waiting, seen = Listing(), deque([folder]), 0
        while waiting:
            here = waiting.popleft()
            if seen > MOST_ENTRIES:
                listing.unseen.append(here)
                continue
            try:
                with os.scandir(self._root / here) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except FileNotFoundError:
                continue
            except OSError:
                listing.unreadable.append(here)
                continue
            seen += len(found)
            for entry in found:
                name = f"{here}/{entry.name}" if here else entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting += [name] if not self.skips(name) else []
                elif not name.endswith(".pyc"):
                    _add(listing, name, Path(entry.path))
        return listing

    def single(self, name: str) -> Listing:
        """One file or link."""
        listing = Listing()
        _add(listing, name, self._root / name)
        return listing

    def skips(self, folder: str) -> bool:
        """Whether no file of a folder is ever part of a snapshot."""
        if folder not in self._skipped:
            above, _, name = folder.rpartition("/")
            self._skipped[folder] = name in _NEVER or self.skips(above) or self._is_no_source(folder)
        return self._skipped[folder]

    def _is_no_source(self, folder: str) -> bool:
        path = self._root / folder
        return (
            folder in self._excluded
            or any((path / name).exists() for name in _ENVIRONMENT)
            or all((path / name).exists() for name in _RUN)
        )


def _add(listing: Listing, name: str, path: Path) -> None:
    """Sockets, pipes and devices are left out, and so is what was removed meanwhile."""
    try:
        status = path.lstat()
        target = os.readlink(path) if stat.S_ISLNK(status.st_mode) else ""  # noqa: PTH115 - the text itself
    except OSError:
        return
    if target or stat.S_ISREG(status.st_mode):
        mode, mtime = status.st_mode & 0o777, int(status.st_mtime)
        listing.files[name] = Found(name, path, status.st_size, mtime, mode, target)


def _git_files(folder: Path) -> list[str] | None:
    """Names of tracked and untracked but not ignored files, those of submodules and repositories inside among them."""
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), "ls-files", "-z"]
    command += ["--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_GIT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return list(_with_inner(folder, done.stdout))


def _with_inner(folder: Path, names: bytes) -> Iterator[str]:
    for raw in filter(None, names.split(b"\0")):
        name = os.fsdecode(raw).rstrip("/")
        path = folder / name
        if path.is_symlink() or not path.is_dir():
            yield name
        elif (path / ".git").exists():  # else an empty folder of a submodule that was not fetched
            yield from (f"{name}/{each}" for each in _git_files(path) or ())
