"""The new lines of one process' log: text, of which values are made only where somebody needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from itertools import accumulate, repeat
from typing import NamedTuple

from launcher.diagnosis.evidence import place_of_error
from launcher.diagnosis.lines import SMALL
from launcher.diagnosis.stamps import stamp_of, stamps_of
from launcher.runfolder.logtimes import Times, times_name
from launcher.runs.loglines import LogLine, error_lines, first_statement, in_key_order

Read = Callable[[str], bytes]
"""The bytes of a file of the run's folder, by its name."""
_LINES_BACK = 4
_line = partial(tuple.__new__, LogLine)


class Source(NamedTuple):
    """One process in one attempt."""

    attempt: int
    node: int
    process: str

    @property
    def stem(self) -> str:
        """The names of its files without `.log`, `.head.log` and `.old.log`."""
        return f"logs/attempt-{self.attempt}/node-{self.node}/{self.process}"


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of one file, from `offset` on."""

    key: str
    offset: int
    data: bytes


class ProcessLog:
    """Whole lines of one log; `text` has all of them, each with a line feed.

    `before` is the time of the line before them; `read` gets the file of arrival times.
    """

    def __init__(self, source: Source, pieces: Sequence[Piece], before: float, read: Read) -> None:
        self.source, self.process = source, source.process
        self._pieces, self._before, self._read = pieces, before, read
        self.text = "".join([text_of(piece.data) for piece in pieces])

    @cached_property
    def texts(self) -> list[str]:
        """The lines without their ends."""
        return self.text.split("\n")[:-1]

    @cached_property
    def first_error(self) -> int | None:
        """Where in `text` the first word stands because of which a line may state an error."""
        return place_of_error(self.text)

    @cached_property
    def times(self) -> list[float]:
        """Of each line its own time, else that of its arrival, else that of the line before."""
        at, times = self._before, []
        for piece in self._pieces:
            for stamp in self._stamps(piece):
                at = stamp or at
                times.append(at)
        return times

    def time_at(self, place: int) -> float:
        """What `times` says of the line with this character of `text`, mostly without looking at all lines."""
        piece = self._pieces[0]
        if not self._pieces[1:] and self.text.isascii() and len(self.text) == len(piece.data):
            end = place
            for _ in range(_LINES_BACK):  # a character is a byte, so the place of a line in its file is known
                start = self.text.rfind("\n", 0, end) + 1
                stamp = stamp_of(self.text[start : self.text.index("\n", start)])
                stamp = self._arrived.at(piece.offset + start) if stamp is None else stamp
                if stamp or not start:
                    return stamp or self._before
                end = start - 1
        return self.times[self.text.count("\n", 0, place)]

    @cached_property
    def _arrived(self) -> Times:
        return self._arrivals(self._pieces[0])

    def _arrivals(self, piece: Piece) -> Times:
        """Of the lines of a piece, where a log has such times."""
        return Times() if self.process == "node" else Times.parse(self._read(times_name(piece.key)))

    @property
    def begin(self) -> float:
        """The time of the first line, which there must be."""
        return stamp_of(self.text[: self.text.index("\n")]) or self.times[0]

    @property
    def end(self) -> float:
        """The time of the last line; of the line before the first when there is none."""
        if not self.texts:
            return self._before
        return stamp_of(self.texts[-1]) or self.times[-1]

    def _stamps(self, piece: Piece) -> list[float | None]:
        stamps = stamps_of(self.texts if len(self._pieces) == 1 else text_of(piece.data).split("\n")[:-1])
        if None not in stamps:
            return stamps
        times = self._arrivals(piece)
        if times.offsets:
            lengths = map(len, piece.data.splitlines(keepends=True))
            offsets = accumulate(lengths, initial=piece.offset)
            return [
                times.at(offset) if stamp is None else stamp
                for stamp, offset in zip(stamps, offsets, strict=False)
            ]
        return stamps

    @cached_property
    def tail(self) -> str:
        """`text` from the line with the first word of an error on; empty without one. Ranks that failed alike share it."""
        if self.first_error is None:
            return ""
        return self.text[self.text.rfind("\n", 0, self.first_error) + 1 :]

    @property
    def lines_before_tail(self) -> int:
        return self.text.count("\n", 0, len(self.text) - len(self.tail))

    def error_lines(self) -> Iterator[int]:
        """The numbers of the lines that belong to an error, in their order."""
        if not self.tail:
            return iter(())
        numbers = _small_errors(self.tail) if len(self.tail) <= SMALL else _errors(self.tail)
        return map(self.lines_before_tail.__add__, numbers)

    def first_statement(self) -> str | None:
        """The same as `loglines.first_statement` of its lines."""
        return first_statement(self.tail.split("\n")[:-1], self.tail)

    def lines(self) -> list[LogLine]:
        """All lines as values."""
        attempt, node, process = self.source
        rows = zip(self.times, repeat(attempt), repeat(node), repeat(process), self.texts, strict=False)
        return list(map(_line, rows))

    def keyed(self, *, errors_only: bool) -> tuple[list[float], list[LogLine]]:
        """Lines, and for each the latest time that the log had reached. `errors_only`: those that belong to an error."""
        if not errors_only:
            return list(accumulate(self.times, max)), self.lines()
        chosen = list(self.error_lines())
        if not chosen:
            return [], []
        keys, texts, times = list(accumulate(self.times, max)), self.texts, self.times
        return [keys[i] for i in chosen], [_line((times[i], *self.source, texts[i])) for i in chosen]


def _errors(tail: str) -> Iterator[int]:
    return error_lines(tail.split("\n")[:-1], tail, 0)


@lru_cache(maxsize=64)
def _small_errors(tail: str) -> tuple[int, ...]:
    return tuple(_errors(tail))


def text_of(data: bytes) -> str:
    """The lines of a log, each with a line feed, whether they end with LF, CR or both."""
    text = data.decode("utf-8", "replace")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return f"{text}\n" if text and not text.endswith("\n") else text


def merged(logs: Iterable[ProcessLog], *, errors_only: bool = False) -> list[LogLine]:
    """Their lines by attempt and time. Lines of one log keep their order, even where its clock goes back."""
    attempts: dict[int, tuple[list[float], list[LogLine]]] = {}
    for log in logs:
        keys, lines = log.keyed(errors_only=errors_only)
        own = attempts.setdefault(log.source.attempt, ([], []))
        own[0].extend(keys)
        own[1].extend(lines)
    return [line for attempt in sorted(attempts) for line in in_key_order(*attempts[attempt])]
