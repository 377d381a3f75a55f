"""The documented part of `moxing.file`, over a folder; obs://bucket/key is <folder>/bucket/key.

Only what ModelArts' documents name. The real one exists in ModelArts images alone.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any


@dataclass
class FileStatistics:
    """What `stat` answers."""

    length: int
    mtime_nsec: int
    is_directory: bool


class MoxingFile:
    """Stands where the module `moxing.file` would. `trouble` is called with each operation's name, and may raise."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.trouble = lambda name: None

    def _path(self, url: str) -> Path:
        return self.root / url.removeprefix("obs://") if url.startswith("obs://") else Path(url)

    def exists(self, url: str) -> bool:
        self.trouble("exists")
        return self._path(url).exists()

    def is_directory(self, url: str) -> bool:
        return self._path(url).is_dir()

    def list_directory(self, url: str, recursive: bool = False) -> list[str]:
        self.trouble("list_directory")
        folder = self._path(url)
        found = folder.rglob("*") if recursive else folder.iterdir()
        return [path.relative_to(folder).as_posix() for path in found]

    def stat(self, url: str) -> FileStatistics:
        facts = self._path(url).stat()
        return FileStatistics(facts.st_size, facts.st_mtime_ns, self._path(url).is_dir())

    def make_dirs(self, url: str) -> None:
        self._path(url).mkdir(parents=True, exist_ok=True)

    def remove(self, url: str, recursive: bool = False) -> None:
        self._path(url).unlink()

    def copy(self, source: str, target: str) -> None:
        self.trouble("copy")
        self._path(target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._path(source), self._path(target))

    def File(self, url: str, mode: str = "r") -> IO[Any]:
        self.trouble("File")
        if "w" in mode:
            self._path(url).parent.mkdir(parents=True, exist_ok=True)
        return self._path(url).open(mode)
