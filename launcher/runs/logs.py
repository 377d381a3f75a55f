"""Read a run's logs, from its directory on this machine or from its folder in the store, while it runs and after."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from launcher.diagnosis.evidence import may_state_error
from launcher.diagnosis.stamps import stamp_of
from launcher.errors import NoSuchRun, NotFound, StoreError
from launcher.runfolder.logtimes import Times, times_name
from launcher.runs.folder import RunFolder
from launcher.runs.index import RunEntry
from launcher.runs.loglines import LogLine, in_time_order

GLANCE_S = 5.0
_NAME = re.compile(
    r"^logs/attempt-(?P<attempt>\d+)/node-(?P<node>\d+)/(?P<process>node|scheduler|rank-(?P<rank>\d+))(?:\.(?P<part>head|old))?\.log$"
)


@dataclass(frozen=True, slots=True, order=True)
class _Source:
    """One process in one attempt."""

    attempt: int
    node: int
    process: str

    def key(self, part: str | None) -> str:
        return f"logs/attempt-{self.attempt}/node-{self.node}/{self.process}{'.' + part if part else ''}.log"


@dataclass
class _Position:
    offset: int = 0
    time: float = 0.0
    begun: bool = False


@dataclass(frozen=True, slots=True)
class _Piece:
    """Bytes of one file, from `offset` on."""

    key: str
    offset: int
    data: bytes


@dataclass
class LogReader:
    """Each call returns the lines that are new since the last one. `rank`, `node` or `attempt` None: those of all."""

    entry: RunEntry
    rank: int | None = None
    node: int | None = None
    attempt: int | None = None
    whole: str | None = None
    """When set: the logs of other ranks than this are left out where no line can state an error."""
    _positions: dict[_Source, _Position] = field(default_factory=dict)
    _folder: RunFolder | None = None
    _elsewhere: list[list[LogLine]] | None = None

    def read(self) -> list[LogLine]:
        """New whole lines of all logs in time order. Raises NoSuchRun for a rank, node or attempt without a log, StoreError."""
        if self._folder is None or self._folder.is_gone:
            self._folder = RunFolder.of(self.entry)
        sizes = {key: size for key, size in self._folder.sizes("logs/").items() if _NAME.match(key)}
        everything = sorted({_source(key) for key in sizes})
        chosen = [source for source in everything if self._wants(source)]
        earlier = self._read_earlier({source.attempt for source in everything})
        if everything and not chosen and not earlier and not self._positions:
            known = ", ".join(dict.fromkeys(f"node-{s.node}/{s.process}" for s in everything))
            raise NoSuchRun(f"{self.entry.run_id} has no such log; there are {known}")
        new = [self._new_lines(self._folder, source, sizes) for source in chosen]
        return in_time_order([*earlier, *new])

    def _read_earlier(self, here: set[int]) -> list[list[LogLine]]:
        """Once: the logs of attempts that only the store has, because the run's directory was deleted or replaced."""
        if self._folder is None or self._elsewhere is not None:
            return []
        self._elsewhere = []
        lost = set(range(1, max(here, default=0))) - here
        if not lost or not isinstance(self._folder.source, Path) or self.attempt not in (None, *lost):
            return []
        stored = RunFolder(self.entry.store.open(GLANCE_S))
        with suppress(StoreError):  # the logs that are here are worth showing without it
            sizes = {key: size for key, size in stored.sizes("logs/").items() if _NAME.match(key)}
            sources = sorted({_source(key) for key in sizes})
            chosen = [source for source in sources if source.attempt in lost and self._wants(source)]
            self._elsewhere = [self._new_lines(stored, source, sizes) for source in chosen]
        return self._elsewhere

    def _wants(self, source: _Source) -> bool:
        return (
            self.attempt in (None, source.attempt)
            and self.node in (None, source.node)
            and (self.rank is None or source.process == f"rank-{self.rank}")
        )

    def _new_lines(self, folder: RunFolder, source: _Source, sizes: dict[str, int]) -> list[LogLine]:
        position = self._positions.setdefault(source, _Position())
        pieces: list[_Piece] = []
        if not position.begun:
            for part in ("head", "old"):  # of a log that reached its limit
                if source.key(part) in sizes:
                    pieces.append(_Piece(source.key(part), 0, _read(folder, source.key(part), 0)))
            position.begun = True
        elif sizes.get(source.key(None), 0) < position.offset:  # the newest part was renamed
            former = next(
                (part for part in ("old", "head") if sizes.get(source.key(part), 0) >= position.offset), None
            )
            if former:
                data = _read(folder, source.key(former), position.offset)
                pieces.append(_Piece(source.key(former), position.offset, data))
            position.offset = 0
        if sizes.get(source.key(None), 0) > position.offset:
            new = _read(folder, source.key(None), position.offset)
            whole = new[: new.rfind(b"\n") + 1]
            pieces.append(_Piece(source.key(None), position.offset, whole))
            position.offset += len(whole)
        pieces = list(_whole(pieces))
        if self._may_be_left_out(source, pieces):
            return []
        return [line for piece in pieces for line in self._lines(folder, source, position, piece)]

    def _may_be_left_out(self, source: _Source, pieces: Sequence[_Piece]) -> bool:
        if self.whole is None or source.process in (self.whole, "node"):
            return False
        return not any(may_state_error(piece.data.decode("utf-8", "replace")) for piece in pieces)

    def _lines(
        self, folder: RunFolder, source: _Source, position: _Position, piece: _Piece
    ) -> Iterator[LogLine]:
        """Lines with their own times, else with those of the times file, else with that of the line before."""
        times: Times | None = Times() if source.process == "node" else None
        offset = piece.offset
        for raw in piece.data.splitlines(keepends=True):
            text = raw.decode("utf-8", "replace").rstrip("\r\n")
            stamp = stamp_of(text)
            if stamp is None:
                if times is None:  # read where a line has no time of its own
                    times = Times.parse(_read(folder, times_name(piece.key), 0))
                stamp = times.at(offset)
            position.time = stamp or position.time
            yield LogLine(position.time, source.attempt, source.node, source.process, text)
            offset += len(raw)


def _whole(pieces: Sequence[_Piece]) -> Iterator[_Piece]:
    """Pieces that end with whole lines: a log may be renamed in the middle of a line, which then belongs to the later piece."""
    rest = b""
    for number, piece in enumerate(pieces):
        data, begins = rest + piece.data, piece.offset - len(rest)
        rest = b"" if number == len(pieces) - 1 else data[data.rfind(b"\n") + 1 :]
        yield _Piece(piece.key, begins, data[: len(data) - len(rest)])


def _source(key: str) -> _Source:
    match = _NAME.match(key)
    assert match is not None, "filtered before"
    return _Source(int(match["attempt"]), int(match["node"]), match["process"])


def _read(folder: RunFolder, key: str, start: int) -> bytes:
    try:
        return folder.read(key, start)
    except NotFound:  # renamed between the listing and now; the next call sees it
        return b""
