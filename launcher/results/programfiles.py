"""The files of a program of the user's own, as the uploads of one machine see them: those that have come to rest.

A file is taken when it has not changed for a while, or when the program has ended. A walk through many files is not
repeated before twenty times its own duration has passed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import IntegrityError
from launcher.jobfile.spec_outputs import OutputsSpec
from launcher.jsontext import parse_json
from launcher.results.elsewhere import Elsewhere, Search
from launcher.results.outputfiles import LeftOut, Outputs, Selection, find_outputs
from launcher.results.tree import LocalFile
from launcher.runfolder.checkpointfiles import CheckpointFile, is_checkpoint, newest_first
from launcher.runfolder.manifest import local_sets
from launcher.runfolder.paths import node_status_key
from launcher.runfolder.smallfiles import read_small

SETTLE_S = 5.0
REST = 20
"""A walk takes at most one part in so many of the time."""


@dataclass(frozen=True, slots=True)
class ProgramScan:
    """`files` are ready to be uploaded, `present` the keys of all results on the disk."""

    files: tuple[LocalFile, ...] = ()
    present: frozenset[str] = frozenset()
    left_out: tuple[LeftOut, ...] = ()
    links: tuple[str, ...] = ()
    partly_searched: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """What is not uploaded and why, for people."""
        links = (f"{name} is a symbolic link and is not uploaded" for name in self.links)
        return (*(f"{each.name} is not uploaded: {each.why}" for each in self.left_out), *links)


class ProgramFiles:
    """What one machine uploads of the program's files: those of its own ranks, and the others from node 0.

    Machines may share a run directory. One that does not uploads its other files under `nodes/node-<k>/`.
    """

    def __init__(
        self,
        run_dir: Path,
        spec: OutputsSpec,
        ranks: Sequence[int],
        node: int,
        elsewhere: Callable[[], Elsewhere] = Elsewhere,
    ) -> None:
        """`elsewhere` is asked when the program has ended."""
        self._run_dir, self._ranks, self._node, self._elsewhere = run_dir, tuple(ranks), node, elsewhere
        self._selection = Selection(spec)
        self._seen: dict[str, tuple[int, int, float]] = {}
        self._last = ProgramScan()
        self._next_at = 0.0

    def scan(self, attempt: int, *, final: bool) -> ProgramScan:
        """`final`: the program has ended, so every file is ready."""
        begun = time.monotonic()
        if not final and begun < self._next_at:
            return self._last
        others = self._node == 0 or not self._is_shared(attempt)
        sets = local_sets(self._run_dir / "checkpoints")
        found = find_outputs(self._run_dir, self._selection, sets, self._ranks, others=others)
        self._last = self._scan_of(found, begun, final=final)
        ended = time.monotonic()
        self._next_at = ended + REST * (ended - begun)
        return self._last

    def _scan_of(self, found: Outputs, now: float, *, final: bool) -> ProgramScan:
        seen: dict[str, tuple[int, int, float]] = {}
        ready = []
        for file in found.files:
            size, mtime_ns, since = self._seen.get(file.name, (-1, -1, now))
            if (size, mtime_ns) != (file.size, file.mtime_ns):
                since = now
            seen[file.name] = (file.size, file.mtime_ns, since)
            if final or now - since >= SETTLE_S:
                ready.append(LocalFile(self._key(file.name), file.path, file.size, file.mtime_ns))
        self._seen = seen
        search = self._elsewhere().search() if final else Search()
        return ProgramScan(
            files=_in_order(ready),
            present=frozenset(map(self._key, seen)),
            left_out=(*found.left_out, *search.left_out),
            links=found.links,
            partly_searched=search.partly_searched,
        )

    def _key(self, name: str) -> str:
        is_common = self._node == 0 or name.startswith("work/")
        return name if is_common else f"nodes/node-{self._node}/{name}"

    def _is_shared(self, attempt: int) -> bool:
        """Whether node 0 has this run directory, too: then its heartbeat is here."""
        try:
            value = parse_json(read_small(self._run_dir / node_status_key(0)))
            return int(value["attempt"]) >= attempt
        except (OSError, IntegrityError, ValueError, KeyError, TypeError):
            return False


def _in_order(files: Sequence[LocalFile]) -> tuple[LocalFile, ...]:
    """Checkpoints last and by age, so that the newest in the store is the newest here, too."""
    return tuple(sorted(files, key=lambda file: file.mtime_ns if is_checkpoint(file.key) else 0))


def newest_checkpoint(files: Sequence[LocalFile]) -> str:
    """Key of the newest checkpoint of these files; empty when there is none."""
    found = [
        CheckpointFile(file.key, file.size, file.mtime_ns / 1e9) for file in files if is_checkpoint(file.key)
    ]
    sets = newest_first(found)
    return sets[0].of_rank(0).key if sets else ""
