"""Scans a run directory for the files and complete checkpoint sets that are to be uploaded.

By the contract with training programs a name with a leading dot is unfinished; it is skipped.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import IntegrityError
from launcher.runfolder.manifest import SetManifest, best_step, read_set, set_folders
from launcher.runfolder.paths import PROFILE, SET_MANIFEST, TENSORBOARD, TRACKED_CSV, TRACKED_EVENTS
from launcher.runfolder.smallfiles import read_small
from launcher.storage.keys import key_problem

RESULT_FOLDERS = ("eval", "export")
GROWING_FILES = ("metrics.jsonl", "progress/rank-0.jsonl")
BEST = "checkpoints/best.json"


@dataclass(frozen=True, slots=True)
class LocalFile:
    """One file to upload. A growing one is uploaded up to the size seen here."""

    key: str
    path: Path
    size: int
    mtime_ns: int
    growing: bool = False


@dataclass(frozen=True, slots=True)
class LocalSet:
    """One complete checkpoint set."""

    manifest: SetManifest
    folder: Path

    @property
    def step(self) -> int:
        """Its global step."""
        return self.manifest.step

    @property
    def prefix(self) -> str:
        """Key of its folder."""
        return f"checkpoints/step-{self.step}"

    @property
    def size_bytes(self) -> int:
        """Size of its files together."""
        return sum(entry.size for entry in self.manifest.files)

    @property
    def manifest_key(self) -> str:
        """Key of its manifest, without which it does not exist."""
        return f"{self.prefix}/{SET_MANIFEST}"


@dataclass(frozen=True, slots=True)
class Tree:
    """The result of one scan. `problems` names what is not uploaded and why, for people.

    `folders`: the steps of all folders of sets, complete or not. A damaged set is none that the program has removed.
    """

    sets: tuple[LocalSet, ...]
    files: tuple[LocalFile, ...]
    best: LocalFile | None
    best_step: int | None
    problems: tuple[str, ...]
    folders: frozenset[int] = frozenset()

    @property
    def newest(self) -> int | None:
        """Step of the newest complete set."""
        return self.sets[-1].step if self.sets else None

    def broken(self, states: Mapping[int, str]) -> Iterator[str]:
        """What to say at the end of sets that are not complete on this disk, but for those that are safe. `states`: the ledger's."""
        for step in sorted(self.folders - {each.step for each in self.sets}):
            if states.get(step) != "safe":
                yield f"checkpoints/step-{step} is not complete on this disk, and not in the store"


def scan(run_dir: Path, node: int) -> Tree:
    """Scan once. Files may vanish or grow during the upload; the caller has to check that.

    Node 0 uploads the results, which its ranks write; every node uploads its own logs and profiles.
    """
    problems: list[str] = []
    files: list[LocalFile] = []
    for attempt in sorted((run_dir / "logs").glob("attempt-*")):
        folder = f"logs/{attempt.name}/node-{node}"
        files += _walk(run_dir, folder, growing=True, problems=problems)
    files += _walk(run_dir, f"{PROFILE}/node-{node}", growing=False, problems=problems)
    if node != 0:
        return Tree((), tuple(files), None, None, tuple(problems))
    folders = set_folders(run_dir / "checkpoints")
    found = ((read_set(folder), folder) for _, folder in sorted(folders.items()))
    sets = tuple(LocalSet(manifest, folder) for manifest, folder in found if manifest is not None)
    for folder in RESULT_FOLDERS:
        files += _walk(run_dir, folder, growing=False, problems=problems)
    for name in GROWING_FILES:
        file = _look(run_dir, name, growing=True)
        files += [file] if file else []
    files += _tracked(run_dir)
    best = _look(run_dir, BEST, growing=False)
    step = None
    with suppress(OSError, IntegrityError):
        step = best_step(read_small(best.path)) if best else None
    return Tree(sets, tuple(files), best, step, tuple(problems), frozenset(folders))


def _tracked(run_dir: Path) -> Iterator[LocalFile]:
    """Curves that `track:` writes."""
    events = (
        path.relative_to(run_dir).as_posix() for path in sorted((run_dir / TENSORBOARD).glob("events.*"))
    )
    for key in (*filter(TRACKED_EVENTS.fullmatch, events), TRACKED_CSV):
        if not key_problem(key) and (file := _look(run_dir, key, growing=key != TRACKED_CSV)):
            yield file


def _look(run_dir: Path, key: str, *, growing: bool) -> LocalFile | None:
    path = run_dir / key
    try:
        status = path.lstat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return LocalFile(key, path, status.st_size, status.st_mtime_ns, growing)


def _walk(run_dir: Path, folder: str, *, growing: bool, problems: list[str]) -> Iterator[LocalFile]:
    """Regular files below a folder, in order. Links are reported, not followed: they could lead anywhere."""
    for current, folders, names in os.walk(run_dir / folder):
        linked = [name for name in folders if (Path(current) / name).is_symlink()]
        problems += [f"{Path(current) / name} is a symbolic link and is not uploaded" for name in linked]
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in linked)
        for name in sorted(names):
            path = Path(current) / name
            if name.startswith("."):
                continue
            key = path.relative_to(run_dir).as_posix()
            if path.is_symlink():
                problems.append(f"{path} is a symbolic link and is not uploaded")
            elif reason := key_problem(key):
                problems.append(f"{key!r} {reason} and is not uploaded")
            elif file := _look(run_dir, key, growing=growing):
                yield file
