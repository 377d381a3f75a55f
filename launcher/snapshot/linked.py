"""Files that a working folder has by links alone: what a program writes there changes the user's own file, and is no result."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from launcher.runfolder.snapshotindex import LinkedFile

MOST_WATCHED = 2_000
"""Above it, the files below a linked folder are not looked at: `status` would wait for them."""


def linked_files(links: Mapping[str, str]) -> dict[str, LinkedFile]:
    """Size and time of each file that a link leads out to, by its name in the working folder. Those of large folders are left out."""
    found: dict[str, LinkedFile] = {}
    for name, target in sorted(links.items()):
        if Path(target).is_absolute():
            below = dict(_below(name, Path(target), MOST_WATCHED - len(found)))
            if len(found) + len(below) <= MOST_WATCHED:
                found |= below
    return found


def _below(name: str, target: Path, most: int) -> Iterator[tuple[str, LinkedFile]]:
    """The file, or the files of the folder; one more than `most` where there are so many."""
    if not target.is_dir():
        paths = iter([(name, target)])
    else:
        paths = (
            (f"{name}/{path.relative_to(target).as_posix()}", path)
            for where, _, files in os.walk(target)
            for path in map(Path(where).joinpath, sorted(files))
        )
    count = 0
    for each, path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            yield each, LinkedFile(status.st_size, status.st_mtime_ns)
            count += 1
            if count > most:
                return
