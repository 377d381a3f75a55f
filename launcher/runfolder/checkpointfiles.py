"""Checkpoint files of programs that know nothing of the launcher: known by name, grouped over ranks, ordered by time.

A name tells the kind (`*.ckpt`, `*.safetensors`, `*.pth`, `*.pt`, `*.npz`) and the rank (a folder `rank_3` or `rank-3`). The files
that differ only in the rank belong together: one of them without the others resumes nothing.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.portable import open_plain
from launcher.runfolder.paths import SET_NAME
from launcher.runfolder.snapshotindex import SnapshotIndex

SUFFIXES = (".ckpt", ".safetensors", ".pth", ".pt", ".npz")
_RANK = re.compile(r"(?<![^/])rank[_-](\d{1,6})(?![^/])")
_NUMBER = re.compile(r"\d+")
_EPOCH_STEP = re.compile(r"-(\d+)_(\d+)$")
_NO_CHECKPOINTS = {"kernel_meta", "__pycache__", "node_modules"}
_OURS = {"compile-cache", "logs", "progress", "status", "ascend", "eval", "export"}
"""Folders of the run directory that have a meaning of their own."""


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """One file, by its place in the run directory. `mtime` is in Unix seconds."""

    key: str
    size: int
    mtime: float


@dataclass(frozen=True, slots=True)
class FileSet:
    """The files of one checkpoint by rank. `name` is their key with `rank_*` in place of the rank."""

    name: str
    files: Mapping[int, CheckpointFile]

    @property
    def mtime(self) -> float:
        return max(file.mtime for file in self.files.values())

    def of_rank(self, rank: int) -> CheckpointFile:
        """The file that a rank reads: its own, or that of the first rank, which then saves for all."""
        return self.files.get(rank) or self.files[min(self.files)]


def is_checkpoint(key: str) -> bool:
    """Whether a file of a program is a checkpoint, by its name alone."""
    *folders, name = key.split("/")
    return (
        name.endswith(SUFFIXES)
        and not any(part.startswith(".") for part in (*folders, name))
        and not _NO_CHECKPOINTS.intersection(folders)
        and (not folders or folders[0] not in _OURS)
        and not (len(folders) > 1 and folders[0] == "checkpoints" and SET_NAME.fullmatch(folders[1]))
    )


def number_of(key: str) -> tuple[int, ...]:
    """What the name counts: (3, 20) of `lenet_1-3_20.ckpt`, (500,) of `step-500.pth`; () without a number."""
    stem = Path(key).stem
    if match := _EPOCH_STEP.search(stem):
        return int(match[1]), int(match[2])
    found = _NUMBER.findall(stem)
    return (int(found[-1]),) if found else ()


def local_files(run_dir: Path, since: float = 0.0) -> Iterator[CheckpointFile]:
    """Checkpoint files below a run directory that were written after `since`. Links are left out: they lead to inputs.

    So is what came with the snapshot.
    """
    came = SnapshotIndex.of_run(run_dir)
    for where, folders, names in os.walk(run_dir):
        inside = Path(where).relative_to(run_dir)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in _NO_CHECKPOINTS
            and (inside.parts or name not in _OURS)
        ]
        for name in names:
            key = (inside / name).as_posix()
            if not is_checkpoint(key):
                continue
            try:
                status = (run_dir / key).lstat()
            except OSError:  # removed meanwhile
                continue
            is_new = status.st_mtime >= since and not came.has_unchanged(
                key, status.st_size, status.st_mtime_ns
            )
            if stat.S_ISREG(status.st_mode) and is_new:
                yield CheckpointFile(key, status.st_size, status.st_mtime)


def newest_first(files: Iterable[CheckpointFile]) -> list[FileSet]:
    """The checkpoints that all ranks have, the newest first; of two of one time the one with the higher number."""
    by_name: dict[str, dict[int, CheckpointFile]] = {}
    ranks_of_folder: dict[str, set[int]] = {}
    for file in files:
        rank, name = _split(file.key)
        by_name.setdefault(name, {})[rank] = file
        ranks_of_folder.setdefault(name.rpartition("/")[0], set()).add(rank)
    sets = [
        FileSet(name, ranks)
        for name, ranks in by_name.items()
        if ranks.keys() == ranks_of_folder[name.rpartition("/")[0]]
    ]
    return sorted(sets, key=lambda each: (each.mtime, number_of(each.name), each.name), reverse=True)


def is_whole(path: Path) -> bool:
    """Whether a file was written to its end, as far as its format tells: a program may be killed while it saves."""
    try:
        with open_plain(path) as file:
            head = file.read(8)
        size = path.stat().st_size
        if head[:2] == b"PK":
            with zipfile.ZipFile(path) as archive:
                return bool(archive.namelist())
        if path.suffix == ".npz":
            return False
        if path.suffix == ".safetensors":
            return _is_whole_safetensors(path, size)
        return size > 0
    except (OSError, zipfile.BadZipFile):
        return False


def _is_whole_safetensors(path: Path, size: int) -> bool:
    """The header says where the last tensor ends."""
    with open_plain(path) as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= size - 8:
            return False
        header = file.read(length).decode(errors="replace")
    ends = re.findall(r'"data_offsets"\s*:\s*\[\s*\d+\s*,\s*(\d+)\s*\]', header)
    return 8 + length + max(map(int, ends), default=0) == size


def _split(key: str) -> tuple[int, str]:
    """Rank and name without it. The innermost folder counts: a rank's own working folder may hold those of all ranks."""
    ranks = _RANK.findall(key)
    return int(ranks[-1]) if ranks else 0, _RANK.sub("rank_*", key)
