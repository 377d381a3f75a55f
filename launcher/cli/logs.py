"""`launcher logs`: the logs of all ranks as one stream."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from launcher.cli.common import add_run_to_read, count, out, say, store_of_run

if TYPE_CHECKING:
    from launcher.runs.index import Index, RunEntry
    from launcher.runs.loglines import LogLine


class Reader(Protocol):
    """Gives the lines that are new since the last call."""

    def read(self) -> list[LogLine]: ...


HELP = """Logs of all ranks and node programs in time order, each line with its node and rank.

Works during the run and after it, from any machine that can read the store. A line without a time of its own is
sorted by the time at which it arrived."""

POLL_S = 0.5
MIN_COLUMN = 13


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_to_read(parser)
    parser.add_argument(
        "-f",
        "--follow",
        action="store_true",
        help="then print new lines, across restarts, until the run has ended",
    )
    parser.add_argument("--rank", type=int, metavar="R", help="only this rank")
    parser.add_argument("--node", type=int, metavar="K", help="only this node")
    parser.add_argument("--attempt", type=int, metavar="A", help="only this attempt")
    parser.add_argument(
        "--console",
        action="store_true",
        help="the output of the containers, as their platform keeps it; use it when a run never began",
    )
    parser.add_argument(
        "--plog",
        action="store_true",
        help="CANN's own logs of the ranks, each line with its file and number; they are kept when a run fails",
    )
    parser.add_argument("--tail", type=count, metavar="N", help="start with the last N lines")
    parser.add_argument("--since", metavar="WHEN", help="10min (ago), 14:30, or '2026-11-21 14:30'")
    parser.add_argument("--grep", metavar="REGEX", help="only lines that match the regular expression")
    parser.add_argument(
        "--raw",
        action="store_true",
        help="control characters as the program wrote them; else they are shown as \\x1b",
    )
    parser.add_argument("--times", action="store_true", help="the time of each line before it")
    parser.add_argument("--errors", action="store_true", help="only error lines, with their tracebacks")


def run(args: argparse.Namespace) -> int:
    from launcher.runs.index import Index
    from launcher.runs.logs import LogReader

    line_filter = _line_filter(args)
    index = Index()
    entry = index.find(args.run, store_of_run(args, args.run))
    reader: Reader = LogReader(
        entry, rank=args.rank, node=args.node, attempt=args.attempt, errors_only=args.errors
    )
    if args.console:
        from launcher.runs.consoles import ConsoleReader

        reader = ConsoleReader(entry, node=args.node)
    elif args.plog:
        from launcher.runs.plogs import PlogReader

        reader = PlogReader(entry, rank=args.rank, node=args.node, attempt=args.attempt)
    printer = _Printer(raw=args.raw, times=args.times)
    some = _show_all(reader, line_filter, printer, args.tail)
    if args.follow:
        return _follow(entry, index, reader, line_filter, printer)
    if not some:
        filtered = args.grep or args.errors or args.since
        say("no lines" if filtered else "no CANN logs were kept" if args.plog else "no logs yet")
    return 0


def _show_all(reader: Reader, wanted: _LineFilter, printer: _Printer, tail: int | None) -> bool:
    """Print what there is so far. Whether there was a line that fits."""
    from launcher.runs.nogc import no_gc

    with no_gc():
        lines = wanted.apply(reader.read())
        printer.show(_tail(lines, tail))
        some = bool(lines)
        del lines  # before the collector looks at them
    return some


def _follow(
    entry: RunEntry,
    index: Index,
    reader: Reader,
    wanted: _LineFilter,
    printer: _Printer,
) -> int:
    """Print new lines until the run has ended. When the store or the platform does not answer, ask again."""
    from launcher.errors import BackendError, StoreError
    from launcher.runs.view import view_of

    ended = False
    while True:
        try:
            printer.show(wanted.apply(reader.read()))
            if ended:
                return 0
            ended = view_of(index.newest(entry), index).state.terminal
        except (StoreError, BackendError) as error:
            service = "store" if isinstance(error, StoreError) else "platform"
            say(f"the {service} does not answer: {error.what}")
            time.sleep(5)
        if not ended:
            time.sleep(POLL_S)


@dataclass(frozen=True)
class _LineFilter:
    """What --since, --grep and --errors ask for."""

    since: float | None = None
    pattern: re.Pattern[str] | None = None
    errors_only: bool = False

    def apply(self, lines: list[LogLine]) -> list[LogLine]:
        if self.errors_only:
            lines = _errors(lines)
        if self.since is not None:
            lines = [line for line in lines if line.time >= self.since]
        if self.pattern is not None:
            lines = [line for line in lines if self.pattern.search(line.text)]
        return lines


def _line_filter(args: argparse.Namespace) -> _LineFilter:
    """Raises UsageError for a time or a regular expression that can't be read."""
    from launcher.errors import UsageError
    from launcher.runs.loglines import parse_since

    try:
        since = parse_since(args.since, time.time()) if args.since else None
    except ValueError as error:
        raise UsageError(str(error), where="--since") from error
    try:
        pattern = re.compile(args.grep) if args.grep else None
    except re.error as error:
        raise UsageError(f"not a regular expression: {error}", where="--grep") from error
    others = args.console or args.plog  # a LogReader looks for errors itself
    return _LineFilter(since, pattern, errors_only=args.errors and others)


def _tail(lines: list[LogLine], count: int | None) -> list[LogLine]:
    """The last `count` lines; all of them when no number was given."""
    return lines if count is None else lines[len(lines) - min(count, len(lines)) :]


def _errors(lines: Sequence[LogLine]) -> list[LogLine]:
    """The lines that state an error. Each log is judged by itself; the order stays."""
    from launcher.runs.loglines import error_texts

    logs: dict[tuple[int, int, str], list[int]] = {}
    for index, line in enumerate(lines):
        logs.setdefault((line.attempt, line.node, line.process), []).append(index)
    chosen = []
    for positions in logs.values():
        flags = error_texts([lines[index].text for index in positions])
        chosen += [index for index, flag in zip(positions, flags, strict=True) if flag]
    return [lines[index] for index in sorted(chosen)]


class _Printer:
    """Prints lines with `node/rank` before them, in one colour per process, and a heading for each new attempt."""

    COLOURS = ("cyan", "green", "yellow", "blue", "magenta")

    def __init__(self, *, raw: bool, times: bool = False) -> None:
        from launcher.cli.style import coloured

        self._raw = raw
        self._times = times
        self._colour = coloured()
        self._attempt = 1
        self._width = MIN_COLUMN
        self._margins: dict[tuple[int, str], str] = {}

    def show(self, lines: Sequence[LogLine]) -> None:
        from launcher.cli.style import paint
        from launcher.cli.terminal import control

        texts, margins = [], self._margins
        for moment, attempt, node, process, text in lines:
            if attempt != self._attempt:
                self._attempt = attempt
                texts.append(paint(f"── attempt {attempt} ──", "bold", self._colour))
            margin = margins.get((node, process)) or self._margin(node, process)
            when = paint(_clock(moment), "dim", self._colour) + " " if self._times else ""
            texts.append(f"{when}{margin} | {control(text) if self._raw else text}")
        if texts:
            out("\n".join(texts))

    def _margin(self, node: int, process: str) -> str:
        """Node and process, as wide as the widest so far."""
        from launcher.cli.style import paint
        from launcher.runs.loglines import rank_of

        name = f"node-{node}/{process}"
        if len(name) > self._width:
            self._width = len(name)
            self._margins.clear()
        rank = rank_of(process)
        style = "dim" if rank is None else self.COLOURS[rank % len(self.COLOURS)]
        margin = paint(name.ljust(self._width), style, self._colour)
        self._margins[node, process] = margin
        return margin


def _clock(moment: float) -> str:
    """`2026-11-21 14:30:05.120` in local time; blanks of the same width for a line whose time is not known."""
    if not moment:
        return " " * 23
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(moment))}.{int(moment % 1 * 1000):03}"
