"""Files that a working folder has by links alone: what a program writes there changes the user's own file, and is no result."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from launcher.runfolder.snapshotindex import LinkedFile, SnapshotIndex

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


def changed_links(index: SnapshotIndex) -> dict[str, Path]:
    """Files behind links that were changed, removed or made since the submission, and where they are.

    Links of older runs have no files to compare with.
    """
    above = {str(each) for name in index.linked for each in (name, *PurePosixPath(name).parents)}
    watched = {name: target for name, target in index.links.items() if name in above}
    now = linked_files(watched)
    names = sorted(name for name in {*index.linked, *now} if index.linked.get(name) != now.get(name))
    return {name: _original(name, watched) for name in names}


def _original(name: str, links: Mapping[str, str]) -> Path:
    """The file that a name in the working folder leads to."""
    parts = PurePosixPath(name).parts
    for count in range(len(parts), 0, -1):
        if target := links.get("/".join(parts[:count])):
            return Path(target, *parts[count:])
    return Path(name)


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
