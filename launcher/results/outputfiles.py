"""Which files of a program of the user's own are results: a walk through the run directory that leaves out the launcher's own.

Links are not followed: they lead to inputs. What came with the snapshot and is unchanged is no result. Files with an unusable name or above the size limit are named as left out.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.disk import is_temporary
from launcher.jobfile.spec_outputs import DEFAULT_EXCLUDES, OutputsSpec
from launcher.runfolder import paths
from launcher.runfolder.manifest import SetManifest, is_damaged_set
from launcher.runfolder.snapshotindex import SnapshotIndex
from launcher.storage.keys import key_problem
from launcher.units import show_bytes

OWN_FILES = {
    paths.JOB,
    paths.PLAN,
    paths.SIGNATURE,
    paths.RECORD,
    paths.STATE,
    paths.CANCEL,
    paths.SNAPSHOT,
    paths.SNAPSHOT_INDEX,
    paths.RUN_MANIFEST,
    "recipe.json",
    "rank_table.json",
    "console.log",
    "metrics.jsonl",
    paths.TRACKED_CSV,
    "stop",
}
OWN_FOLDERS = {"ascend", "attempts", "claims", "compile-cache", "launches", "manifests", "platform-logs"}
OWN_FOLDERS |= {"progress", "rendezvous", "status"}
_CONTRACT_FOLDERS = {"eval", "export"}
_OWN_DOT_FILES = re.compile(r"\.(reserve|restored)-\d+|\.restore\.lock|\.(code|boot)-.*")
_LEDGER = re.compile(r"upload(-node-\d+)?\.json")
_RANK_FOLDER = re.compile(r"rank-(\d+)")
_NODE_FOLDERS = re.compile(rf"(logs/attempt-\d+|{paths.PROFILE})/node-\d+")


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file of the program, by its place in the run directory."""

    name: str
    path: Path
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that would be a result but is not uploaded, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Outputs:
    """What one walk found. `links` are the names of symbolic links."""

    files: tuple[OutputFile, ...]
    left_out: tuple[LeftOut, ...]
    links: tuple[str, ...]


class Selection:
    """The patterns of `outputs:`, ready to be asked."""

    def __init__(self, spec: OutputsSpec) -> None:
        self._include = [_compiled(each) for each in spec.include or ()]
        self._exclude = [_compiled(each) for each in spec.exclude]
        self._by_default = [_compiled(each) for each in DEFAULT_EXCLUDES]
        self._all = spec.include is None
        self.max_file = spec.max_file

    def takes(self, name: str) -> bool:
        """Whether the file is a result. `name` is relative to the rank's working folder, else to the run directory."""
        if _fits(self._exclude, name):
            return False
        return not _fits(self._by_default, name) if self._all else _fits(self._include, name)

    def skips(self, folder: str) -> bool:
        """Whether no file of this folder can be a result."""
        return _fits(self._exclude, f"{folder}/") or (self._all and _fits(self._by_default, f"{folder}/"))


def find_outputs(
    run_dir: Path,
    selection: Selection,
    sets: dict[int, SetManifest],
    ranks: Sequence[int] | None,
    *,
    others: bool,
) -> Outputs:
    """Walk once. Working folders of `ranks` (None: of all); with `others`, also what lies elsewhere in the run directory.

    Complete checkpoint sets, evaluations, exports, logs and profiles of the contract are not among them: `tree.scan` has those.
    """
    return _Walk(run_dir, selection, sets, ranks, others=others).run()


class _Walk:
    def __init__(
        self,
        run_dir: Path,
        selection: Selection,
        sets: dict[int, SetManifest],
        ranks: Sequence[int] | None,
        *,
        others: bool,
    ) -> None:
        self._run_dir, self._selection = run_dir, selection
        self._sets, self._ranks, self._others = sets, ranks, others
        self._came = SnapshotIndex.of_run(run_dir)
        self._files: list[OutputFile] = []
        self._left_out: list[LeftOut] = []
        self._links: list[str] = []

    def run(self) -> Outputs:
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            for entry in self._entries(folder):
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_symlink():
                    self._note_link(name)
                elif entry.is_dir(follow_symlinks=False):
                    waiting += [name] if self._enters(name) else []
                else:
                    self._look(name, entry)
        files = sorted(self._files, key=lambda file: file.name)
        return Outputs(tuple(files), tuple(self._left_out), tuple(sorted(self._links)))

    def _entries(self, folder: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(self._run_dir / folder) as entries:
                yield from list(entries)
        except OSError:  # removed meanwhile
            return

    def _enters(self, name: str) -> bool:
        parts = name.split("/")
        if self._is_own(name) or self._selection.skips(_inside(name)):
            return False
        if parts[0] == "checkpoints" and len(parts) == 2 and (match := paths.SET_NAME.fullmatch(parts[1])):
            return int(match[1]) not in self._sets and not self._is_damaged_set(name)
        return True

    def _is_damaged_set(self, name: str) -> bool:
        """The store may have the set whole, and its files must not take the place of those."""
        damaged = is_damaged_set(self._run_dir / name)
        if damaged and self._others:
            self._left_out.append(LeftOut(name, "a checkpoint that is damaged on this disk"))
        return damaged

    def _is_own(self, name: str) -> bool:
        """Whether it belongs to the launcher or to the contract with training programs."""
        top, _, rest = name.partition("/")
        if is_temporary(name.rpartition("/")[2]):
            return True
        if not rest:
            if (
                _OWN_DOT_FILES.fullmatch(top)
                or top in OWN_FILES
                or top in OWN_FOLDERS
                or _LEDGER.fullmatch(top)
            ):
                return True
            return top in _CONTRACT_FOLDERS
        if top == "checkpoints":
            return rest.startswith(".") or name in (paths.BEST, paths.LATEST)
        return bool(_NODE_FOLDERS.fullmatch(name) or paths.TRACKED_EVENTS.fullmatch(name))

    def _is_wanted(self, name: str) -> bool:
        top, _, rest = name.partition("/")
        match = _RANK_FOLDER.fullmatch(rest.partition("/")[0]) if top == "work" else None
        if match:
            return self._ranks is None or int(match[1]) in self._ranks
        return self._others

    def _note_link(self, name: str) -> None:
        if self._came.has_link(name):
            return
        if not self._is_own(name) and self._is_wanted(name) and self._selection.takes(_inside(name)):
            self._links.append(ascii(name) if key_problem(name) else name)

    def _look(self, name: str, entry: os.DirEntry[str]) -> None:
        if self._is_own(name) or not self._is_wanted(name) or not self._selection.takes(_inside(name)):
            return
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            return
        limit = self._selection.max_file
        if not stat.S_ISREG(status.st_mode) or self._came.has_unchanged(
            name, status.st_size, status.st_mtime_ns
        ):
            return
        if problem := key_problem(name):
            self._left_out.append(LeftOut(ascii(name), f"its name {problem}"))
        elif limit is not None and status.st_size > limit:
            why = f"{show_bytes(status.st_size)}, more than outputs.max_file"
            self._left_out.append(LeftOut(name, why))
        else:
            path = Path(entry.path)
            self._files.append(OutputFile(name, path, status.st_size, status.st_mtime_ns))


def _inside(name: str) -> str:
    """The name as the program sees it: relative to its working folder, where it lies there."""
    parts = name.split("/", 2)
    return parts[2] if len(parts) == 3 and parts[0] == "work" else name


def _compiled(pattern: str) -> re.Pattern[str]:
    """A pattern fits a file, or a folder and so all files below it."""
    anchored, body = pattern.startswith("/"), pattern.strip("/")
    parts = [_part(part) for part in body.split("/")]
    text = "/".join(parts).replace("\0/", "(?:[^/]+/)*").replace("/\0", "(?:/.*)?").replace("\0", ".*")
    start = "" if anchored else "(?:.*/)?"
    end = "/.*" if pattern.endswith("/") else "(?:/.*)?"
    return re.compile(f"{start}{text}{end}", re.DOTALL)


def _part(part: str) -> str:
    """One segment as a regular expression in which `*` and `?` stay inside the segment; a NUL for `**`."""
    if part == "**":
        return "\0"
    text = fnmatch.translate(part).removeprefix("(?s:").removesuffix(r")\Z")
    return text.replace(".*", "[^/]*")


def _fits(patterns: Sequence[re.Pattern[str]], name: str) -> bool:
    return any(pattern.fullmatch(name) for pattern in patterns)
