"""The files with which a program of the user's own began: what came with the snapshot and is unchanged is no result.

Times are whole seconds, which every file system keeps.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from launcher.errors import IntegrityError
from launcher.jsontext import parse_json
from launcher.runfolder.paths import SNAPSHOT_INDEX
from launcher.runfolder.smallfiles import read_small


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """Size, time and content of one file as it was submitted."""

    size: int
    mtime_s: int
    sha256: str


@dataclass(frozen=True, slots=True)
class LinkedFile:
    """Size and time of a file that was linked and not copied, when it was submitted."""

    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class SnapshotIndex:
    """All of a snapshot by its names. `folder` on `host` is where it was taken; `linked` has the files behind links out of it."""

    folder: str = ""
    host: str = ""
    files: dict[str, SnapshotFile] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    linked: dict[str, LinkedFile] = field(default_factory=dict)

    @classmethod
    def of_run(cls, run_dir: Path) -> SnapshotIndex:
        """The one that lies in a run directory; an empty one where there is none."""
        try:
            return cls.read(read_small(run_dir / SNAPSHOT_INDEX))
        except (OSError, IntegrityError):
            return cls()

    @classmethod
    def read(cls, data: bytes) -> SnapshotIndex:
        """An empty one for a text that is none."""
        try:
            value = parse_json(data)
            files = {
                str(name): SnapshotFile(int(size), int(mtime), str(sha256))
                for name, (size, mtime, sha256) in value["files"].items()
            }
            links = {str(name): str(target) for name, target in value["links"].items()}
            linked = {
                str(name): LinkedFile(int(size), int(mtime))
                for name, (size, mtime) in value.get("linked", {}).items()
            }
            return cls(str(value["folder"]), str(value["host"]), files, links, linked)
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def text(self) -> str:
        """The content of snapshot.json."""
        files = {name: [each.size, each.mtime_s, each.sha256] for name, each in self.files.items()}
        linked = {name: [each.size, each.mtime_ns] for name, each in self.linked.items()}
        value = {
            "folder": self.folder,
            "host": self.host,
            "files": files,
            "links": self.links,
            "linked": linked,
        }
        return json.dumps(value) + "\n"

    def has_unchanged(self, key: str, size: int, mtime_ns: int) -> bool:
        """Whether a file of a run directory is as it came. Its key begins with the working folder: `work/rank-0/train.py`."""
        file = self.files.get(_inside(key))
        return file is not None and (file.size, file.mtime_s * 10**9) == (size, mtime_ns)

    def has_link(self, key: str) -> bool:
        """Whether a symbolic link of a run directory came with the snapshot."""
        return _inside(key) in self.links


def _inside(key: str) -> str:
    work, _, rest = key.partition("/")
    return rest.partition("/")[2] if work == "work" else ""
