"""Read a run's logs, from its directory on this machine or from its folder in the store, while it runs and after."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from launcher.errors import NoSuchRun, NotFound, StoreError
from launcher.runs.folder import RunFolder
from launcher.runs.index import RunEntry
from launcher.runs.loglines import LogLine
from launcher.runs.processlog import Piece, ProcessLog, Read, Source, merged

GLANCE_S = 5.0
_NAME = re.compile(r"^logs/attempt-(\d+)/node-(\d+)/(node|scheduler|rank-\d+)(?:\.(?:head|old))?\.log$")


@dataclass
class _Position:
    offset: int = 0
    time: float = 0.0
    begun: bool = False


@dataclass
class LogReader:
    """Each call returns the lines that are new since the last one. `rank`, `node` or `attempt` None: those of all."""

    entry: RunEntry
    rank: int | None = None
    node: int | None = None
    attempt: int | None = None
    whole: str | None = None
    """When set: the logs of other ranks than this are left out where no line can state an error."""
    errors_only: bool = False
    _positions: dict[Source, _Position] = field(default_factory=dict)
    _folder: RunFolder | None = None
    _elsewhere: list[ProcessLog] | None = None

    def read(self) -> list[LogLine]:
        """New whole lines of all logs in time order. Raises NoSuchRun for a rank, node or attempt without a log, StoreError."""
        logs = self.logs()
        lines = merged(logs, errors_only=self.errors_only)
        for log in logs:
            self._positions[log.source].time = log.end
        return lines

    def logs(self, sizes: Mapping[str, int] | None = None) -> list[ProcessLog]:
        """The same as text, log by log; `sizes` are the files below `logs/` when they are known. For a reader that reads once."""
        if self._folder is None or self._folder.is_gone:
            self._folder = RunFolder.of(self.entry)
        if sizes is None:  # a file that was never read has something new, of whatever size
            folder = self._folder
            sizes = folder.sizes("logs/") if self._positions else dict.fromkeys(folder.names("logs/"), 1)
        everything = _sources(sizes)
        chosen = [source for source in everything if self._wants(source)]
        earlier = self._read_earlier({source.attempt for source in everything})
        if everything and not chosen and not earlier and not self._positions:
            known = ", ".join(dict.fromkeys(f"node-{s.node}/{s.process}" for s in everything))
            raise NoSuchRun(f"{self.entry.run_id} has no such log; there are {known}")
        read = partial(_read_listed, self._folder, sizes)
        return [*earlier, *(self._new_lines(self._folder, source, sizes, read) for source in chosen)]

    def _read_earlier(self, here: set[int]) -> list[ProcessLog]:
        """Once: the logs of attempts that only the store has, because the run's directory was deleted or replaced."""
        if self._folder is None or self._elsewhere is not None:
            return []
        self._elsewhere = []
        lost = set(range(1, max(here, default=0))) - here
        if not lost or not isinstance(self._folder.source, Path) or self.attempt not in (None, *lost):
            return []
        stored = RunFolder(self.entry.store.open(GLANCE_S))
        with suppress(StoreError):  # the logs that are here are worth showing without it
            sizes = stored.sizes("logs/")
            chosen = [each for each in _sources(sizes) if each.attempt in lost and self._wants(each)]
            read = partial(_read_listed, stored, sizes)
            self._elsewhere = [self._new_lines(stored, source, sizes, read) for source in chosen]
        return self._elsewhere

    def _wants(self, source: Source) -> bool:
        return (
            self.attempt in (None, source.attempt)
            and self.node in (None, source.node)
            and (self.rank is None or source.process == f"rank-{self.rank}")
        )

    def _new_lines(
        self, folder: RunFolder, source: Source, sizes: Mapping[str, int], read: Read
    ) -> ProcessLog:
        position = self._positions.setdefault(source, _Position())
        pieces: list[Piece] = []
        stem = source.stem
        newest, old, head = f"{stem}.log", f"{stem}.old.log", f"{stem}.head.log"
        if not position.begun:
            for key in (head, old):  # of a log that reached its limit
                if key in sizes:
                    pieces.append(Piece(key, 0, _read(folder, key, 0)))
            position.begun = True
        elif sizes.get(newest, 0) < position.offset:  # the newest part was renamed
            former = next((key for key in (old, head) if sizes.get(key, 0) >= position.offset), None)
            if former:
                pieces.append(Piece(former, position.offset, _read(folder, former, position.offset)))
            position.offset = 0
        if sizes.get(newest, 0) > position.offset:
            new = _read(folder, newest, position.offset)
            whole = new[: new.rfind(b"\n") + 1]
            pieces.append(Piece(newest, position.offset, whole))
            position.offset += len(whole)
        log = ProcessLog(source, list(_whole(pieces)) if pieces[1:] else pieces, position.time, read)
        if self.whole is None or source.process in (self.whole, "node") or log.first_error is not None:
            return log
        return ProcessLog(source, (), position.time, read)


def _whole(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Pieces that end with whole lines: a log may be renamed in the middle of a line, which then belongs to the later piece."""
    rest = b""
    for number, piece in enumerate(pieces):
        data, begins = rest + piece.data, piece.offset - len(rest)
        rest = b"" if number == len(pieces) - 1 else data[data.rfind(b"\n") + 1 :]
        yield Piece(piece.key, begins, data[: len(data) - len(rest)])


def _sources(keys: Iterable[str]) -> list[Source]:
    matches = filter(None, map(_NAME.match, keys))
    return sorted({Source(int(match[1]), int(match[2]), match[3]) for match in matches})


def _read_listed(folder: RunFolder, sizes: Mapping[str, int], key: str) -> bytes:
    """Empty for a file that was not there when the folder was listed."""
    return _read(folder, key, 0) if key in sizes else b""


def _read(folder: RunFolder, key: str, start: int) -> bytes:
    try:
        return folder.read(key, start)
    except NotFound:  # renamed between the listing and now; the next call sees it
        return b""
