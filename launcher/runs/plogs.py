"""CANN's own logs of a run (plog), as the node programs copied them into the run's folder after a failure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from launcher.diagnosis.stamps import stamp_of
from launcher.errors import NotFound
from launcher.runfolder.paths import PLOG
from launcher.runs.folder import RunFolder
from launcher.runs.index import RunEntry
from launcher.runs.loglines import LogLine, in_time_order

_NAME = re.compile(
    rf"^logs/attempt-(?P<attempt>\d+)/node-(?P<node>\d+)/(?P<file>{PLOG}/rank-(?P<rank>\d+)/.+)$"
)


@dataclass(frozen=True, slots=True)
class Plog:
    """One file of one rank. `name` is its place below the logs of its node, as the first failure of a run names it."""

    attempt: int
    node: int
    rank: int
    name: str
    text: str

    @property
    def process(self) -> str:
        return f"rank-{self.rank}"


def read_plogs(
    entry: RunEntry, *, rank: int | None = None, node: int | None = None, attempt: int | None = None
) -> list[Plog]:
    """The files of one rank, node or attempt, or all (None). Raises StoreError."""
    folder = RunFolder.of(entry)
    return plogs_in(folder, folder.names("logs/"), rank=rank, node=node, attempt=attempt)


def plogs_in(
    folder: RunFolder,
    names: Iterable[str],
    *,
    rank: int | None = None,
    node: int | None = None,
    attempt: int | None = None,
) -> list[Plog]:
    """The same of a folder whose files below `logs/` are known."""
    found = []
    for key in sorted(name for name in names if f"/{PLOG}/" in name):
        match = _NAME.match(key)
        if match is None:
            continue
        place = int(match["attempt"]), int(match["node"]), int(match["rank"])
        if any(want not in (None, has) for want, has in zip((attempt, node, rank), place, strict=True)):
            continue
        try:
            text = folder.read(key).decode("utf-8", "replace")
        except NotFound:  # removed between the listing and now
            continue
        found.append(Plog(*place, match["file"], text))
    return found


@dataclass
class PlogReader:
    """The lines of these files, each behind its file and number; those of new files at each call."""

    entry: RunEntry
    rank: int | None = None
    node: int | None = None
    attempt: int | None = None
    _known: set[tuple[int, int, str]] = field(default_factory=set)

    def read(self) -> list[LogLine]:
        """In time order. Raises StoreError."""
        files = read_plogs(self.entry, rank=self.rank, node=self.node, attempt=self.attempt)
        new = [each for each in files if (each.attempt, each.node, each.name) not in self._known]
        self._known |= {(each.attempt, each.node, each.name) for each in new}
        return in_time_order([_lines(each) for each in new])


def _lines(plog: Plog) -> list[LogLine]:
    lines, at = [], 0.0
    file = plog.name.rpartition("/")[2]
    for number, text in enumerate(plog.text.splitlines(), 1):
        at = stamp_of(text) or at
        lines.append(LogLine(at, plog.attempt, plog.node, plog.process, f"{file}:{number} {text}"))
    return lines
