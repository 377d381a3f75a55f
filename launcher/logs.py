"""Read a run's logs, from its directory on this machine or from its folder in the store, while it runs and after."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from launcher.errors import NoSuchRun, NotFound
from launcher.loglines import LogLine, in_time_order, stamp_of
from launcher.runfolder import RunFolder
from launcher.runs import Entry

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


@dataclass
class LogReader:
    """Gives, call by call, the lines that are new since the last one. None for `rank`, `node` or `attempt` is all of them."""

    entry: Entry
    rank: int | None = None
    node: int | None = None
    attempt: int | None = None
    _positions: dict[_Source, _Position] = field(default_factory=dict)
    _folder: RunFolder | None = None

    def read(self) -> list[LogLine]:
        """New whole lines of all logs in time order. Raises NoSuchRun for a rank, node or attempt without a log, StoreError."""
        if self._folder is None:
            self._folder = RunFolder.of(self.entry)
        sizes = {key: size for key, size in self._folder.sizes("logs/").items() if _NAME.match(key)}
        everything = sorted({_source(key) for key in sizes})
        wanted = [source for source in everything if self._wants(source)]
        if everything and not wanted and not self._positions:
            known = ", ".join(dict.fromkeys(f"node-{s.node}/{s.process}" for s in everything))
            raise NoSuchRun(f"{self.entry.run_id} has no such log; there are {known}")
        return list(in_time_order([self._new_lines(self._folder, source, sizes) for source in wanted]))

    def _wants(self, source: _Source) -> bool:
        return (
            self.attempt in (None, source.attempt)
            and self.node in (None, source.node)
            and (self.rank is None or source.process == f"rank-{self.rank}")
        )

    def _new_lines(self, folder: RunFolder, source: _Source, sizes: dict[str, int]) -> list[LogLine]:
        position = self._positions.setdefault(source, _Position())
        data = b""
        if not position.begun:
            for part in ("head", "old"):  # of a log that reached its limit
                if source.key(part) in sizes:
                    data += _read(folder, source.key(part), 0)
            position.begun = True
        elif (
            sizes.get(source.key(None), 0) < position.offset
        ):  # what was the newest part has another name now
            former = next(
                (part for part in ("old", "head") if sizes.get(source.key(part), 0) >= position.offset), None
            )
            data += _read(folder, source.key(former), position.offset) if former else b""
            position.offset = 0
        if sizes.get(source.key(None), 0) > position.offset:
            new = _read(folder, source.key(None), position.offset)
            whole = new[: new.rfind(b"\n") + 1]
            position.offset += len(whole)
            data += whole
        return self._lines(source, position, data)

    def _lines(self, source: _Source, position: _Position, data: bytes) -> list[LogLine]:
        lines = []
        for text in data.decode("utf-8", "replace").splitlines():
            position.time = stamp_of(text) or position.time
            lines.append(LogLine(position.time, source.attempt, source.node, source.process, text))
        return lines


def _source(key: str) -> _Source:
    match = _NAME.match(key)
    assert match is not None, "filtered before"
    return _Source(int(match["attempt"]), int(match["node"]), match["process"])


def _read(folder: RunFolder, key: str, start: int) -> bytes:
    try:
        return folder.read(key, start)
    except NotFound:  # renamed between the listing and now; the next call sees it
        return b""
