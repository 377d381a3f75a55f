"""Results where none are looked for: outside of the run directory, in places that a program names, or behind links of its snapshot."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from launcher.results.outputfiles import LeftOut
from launcher.runfolder.checkpointfiles import is_checkpoint
from launcher.runfolder.paths import SNAPSHOT_ELSEWHERE
from launcher.runfolder.snapshotindex import SnapshotIndex
from launcher.snapshot.linked import changed_links

MOST = 20_000
"""Files that are looked at in one place."""


@dataclass(frozen=True, slots=True)
class Search:
    """What was found. `partly_searched` are the places with more than `MOST` files, the rest of which nobody has looked at."""

    left_out: tuple[LeftOut, ...] = ()
    partly_searched: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """`places`: files or folders; `ours`: whole folders that are left out of them. `since` in unix seconds: what is older was there before.

    `snapshot` has the links of the working folders and the files behind them.
    """

    places: tuple[Path, ...] = ()
    ours: frozenset[Path] = frozenset()
    since: float = 0.0
    snapshot: SnapshotIndex = field(default_factory=SnapshotIndex)

    def search(self) -> Search:
        """New or changed checkpoints, and linked files that have changed, those beside a script elsewhere apart. They stay where they are."""
        found: dict[str, str] = {}
        partly: list[str] = []
        for name, path in changed_links(self.snapshot).items():
            if not name.startswith(f"{SNAPSHOT_ELSEWHERE}/") and path.is_file():
                found[str(path)] = "linked into the working folder and changed there, or by others"
        links = (Path(target) for target in self.snapshot.links.values() if target.startswith("/"))
        for place in dict.fromkeys((*links, *self.places)):
            files = _files(place, self.ours)
            for file in islice(files, MOST):
                if self._is_new(file):
                    found.setdefault(file, "written outside of the working folder")
            if next(files, None) is not None:
                partly.append(str(place))
        return Search(tuple(LeftOut(path, why) for path, why in sorted(found.items())), tuple(partly))

    def _is_new(self, path: str) -> bool:
        if not is_checkpoint(os.path.basename(path)):  # noqa: PTH119  # thousands of names
            return False
        try:
            return os.stat(path).st_mtime >= self.since  # noqa: PTH116
        except OSError:
            return False


def _files(place: Path, ours: frozenset[Path]) -> Iterator[str]:
    """The file, or the files of the folder; of a name that is not there, what begins with it: `net-` of `net-{epoch}.ckpt`."""
    if not ours.isdisjoint((place, *place.parents)):
        return
    if place.is_file():
        yield str(place)
    elif place.is_dir():
        for folder, folders, names in os.walk(place):
            folders[:] = [name for name in folders if Path(folder, name) not in ours]
            yield from (f"{folder}/{name}" for name in names)
    elif len(place.parts) > 2 and place.parent.is_dir():
        for name in os.listdir(place.parent):  # noqa: PTH208  # thousands of names
            if name.startswith(place.name):
                yield from _files(place.parent / name, ours)
