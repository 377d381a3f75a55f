"""Checkpoints that a program wrote where no results are looked for: in folders that its words and its script name by their whole paths."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from launcher.results.outputfiles import LeftOut
from launcher.runfolder.checkpointfiles import is_checkpoint

MOST = 20_000
"""Files that are looked at in one place."""
_SYSTEM = frozenset({"bin", "boot", "dev", "etc", "lib", "lib64", "proc", "run", "sbin", "sys", "usr"})


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """`places`: files or folders outside of the run directory. `since` in unix seconds: what is older was there before."""

    places: tuple[Path, ...] = ()
    since: float = 0.0

    def checkpoints(self) -> tuple[LeftOut, ...]:
        """Those that are new or have changed; they stay where they are."""
        found = {path for place in self.places for path in islice(_files(place), MOST) if self._is_new(path)}
        return tuple(LeftOut(path, "written outside of the working folder") for path in sorted(found))

    def _is_new(self, path: str) -> bool:
        if not is_checkpoint(os.path.basename(path)):  # noqa: PTH119  # thousands of names
            return False
        try:
            return os.stat(path).st_mtime >= self.since  # noqa: PTH116
        except OSError:
            return False


def places_in(names: Sequence[str], known: Sequence[Path]) -> tuple[Path, ...]:
    """Of these names the whole paths that a program may write to, not below the folders in `known`, the system's own left out."""
    places: dict[Path, None] = {}
    for name in names:
        path = Path(os.path.normpath(name)) if name.startswith("/") and "\0" not in name else None
        if path is None or len(path.parts) < 3 or path.parts[1] in _SYSTEM:
            continue
        if not any(path.is_relative_to(folder) or folder.is_relative_to(path) for folder in known):
            places[path] = None
    return tuple(places)


def _files(place: Path) -> Iterator[str]:
    if place.is_file():
        yield str(place)
    for folder, _, names in os.walk(place):
        for name in names:
            yield f"{folder}/{name}"
