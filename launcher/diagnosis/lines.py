"""The lines of a log that are worth a look, found in time that grows with the log and not with what stands in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import takewhile

from launcher.diagnosis.cut import ZEROS, clean, cut, line_end, line_start
from launcher.diagnosis.tracebacks import TRACEBACK, end_of_traceback

HEAD, TAIL = 1 << 20, 3 << 20
_HITS = 150
"""So many lines from either end of a log are looked at for each word."""
_BLOCK_LINES = 30

ERROR_WORDS = (
    *(
        "rror",
        "RROR",
        "CRITICAL",
        "EXCEPTION",
        "FATAL",
        "Fatal",
        "xception",
        "Expired",
        "Interrupt",
        "SystemExit",
    ),
    *(
        "ailed",
        "ut of memory",
        "ut of Memory",
        "ot enough",
        "n't enough",
        "imed out",
        "imeout",
        "efused",
        "enied",
    ),
    *(
        "No module",
        "No space",
        "No route",
        "quota",
        "bad_alloc",
        "core dumped",
        "Segmentation",
        "can't ",
        "Cannot ",
    ),
    *(
        "corrupt",
        "insufficient",
        "occupying",
        "mismatch",
        "broken",
        "is null",
        "closed by peer",
        "Occurred",
        "retCode",
    ),
    *("FORCE STOP", "more than total", "is invalid", "not same", "dcmi", "times out", "is hanging", "isn't"),
    *(
        "connect down",
        "unsupported",
        "nsupported",
        "No such",
        "Too many",
        "Read-only",
        "the loss is",
        "oss is nan",
        "oss is inf",
        "oss is -inf",
        "resource",
    ),
)
"""Each kind of line that the table knows holds one of these; a test proves it for every example of the table."""

CODE = re.compile(r"E(?:[A-Z]\d{4}|\d{5})(?!\w)")
_BLOCKS = (
    "Ascend Error Message",
    "Framework Error Message",
    "Dataset Pipeline Error Message",
    "Device load error message",
)


def any_of(words: Iterable[str]) -> str:
    """A pattern of these words, those with the same first letter together: twice as fast as one after the other."""
    rests: dict[str, list[str]] = {}
    for word in words:
        rests.setdefault(word[0], []).append(re.escape(word[1:]))
    return "|".join(f"{re.escape(first)}(?:{'|'.join(own)})" for first, own in rests.items())


_WORD_OR_CODE = re.compile(f"{any_of(ERROR_WORDS)}|{CODE.pattern}")
SMALL = 32 << 10
"""Characters of a log that is read in one pass for all words."""
_ENDS = ("", "\n", "\r")
_INDENT = " " * 6
"""CANN indents what belongs to a code by seven or eight."""
_AFTERWORDS = ("Exception ignored in", "Error in atexit.", "Error in sys.excepthook")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log, cut and without terminal escapes and the prefix that a starter of ranks puts before it.

    `offset` is its place in the log in characters. `block`: it stands under a heading such as "Ascend Error Message", or is indented below a code.
    `raised`: it ends a traceback.
    """

    offset: int
    text: str
    block: bool = False
    raised: bool = False


def worth_a_look(log: str) -> list[Line]:
    """In the order of the log: lines with a word or code of an error, those of error blocks, and the ends of tracebacks.

    Of a log over `HEAD` + `TAIL` characters the middle is searched for codes only.
    """
    starts = _few_starts(log) if len(log) <= SMALL or not _WORD_OR_CODE.search(log) else _starts(log)
    lines = {start: Line(start, clean(cut(log, start))) for start in starts}
    if not lines and TRACEBACK not in log:
        return []
    for heading in filter(log.__contains__, _BLOCKS):
        for at in _everywhere(log, heading):
            lines.update((line.offset, line) for line in _block_below(log, at))
    for head in [line for line in lines.values() if CODE.search(line.text)]:
        details = takewhile(partial(_is_detail, head.text), _block_below(log, head.offset))
        lines.update((line.offset, line) for line in details)
    for at in _everywhere(log, TRACEBACK) if TRACEBACK in log else ():
        if (ending := end_of_traceback(log, at)) is None:
            continue
        offset, text = ending
        if _is_afterword(log, at):
            lines.pop(offset, None)
        else:
            lines[offset] = Line(offset, text, raised=True)
    return [lines[offset] for offset in sorted(lines)]


def _is_detail(head: str, line: Line) -> bool:
    """Whether a line is indented, as CANN writes what belongs to the code above it, also behind the margin of both."""
    text = line.text
    if text[:1].isspace():
        return True
    pairs = zip(head.translate(ZEROS), text.translate(ZEROS), strict=False)
    margin = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return margin > 0 and text[margin:].startswith(_INDENT)


def _is_afterword(log: str, at: int) -> bool:
    """Whether Python reports an exception that it ignored while it tidied up, which ends nothing."""
    start = line_start(log, at)
    before = log[line_start(log, start - 1) : start] if start else ""
    return any(words in before for words in _AFTERWORDS)


def last_progress(log: str, lines: list[Line], behind: int = -1) -> int:
    """Where the last line stands that tells of work done well, such as a step or an epoch; -1 when none does `behind` a place."""
    errors = {line.offset for line in lines}
    tail = log[-_PROGRESS_TAIL:]
    before, end = len(log) - len(tail), len(tail)
    ends = tail.replace("\r", "\n") if "\r" in tail else tail
    while end >= 0 and before + end > behind:
        start = ends.rfind("\n", 0, end) + 1
        if before + start not in errors and _PROGRESS.search(tail[start : min(end, start + 300)]):
            return before + start
        end = start - 1
    return -1


_PROGRESS_TAIL = 256 << 10
_PROGRESS = re.compile(
    r"(?i)\b(?:epoch|step|iter(?:ation)?s?|batch)\b[ :=\[]{0,3}\d|\bloss\b[ :=]{0,3}(?:is )?-?\d|\d(?:\.\d+)? ?(?:it|img|images|samples)/s|\d+/\d+ \["
)


def _few_starts(log: str) -> Iterator[int]:
    """Those of a log that is too small to have too many lines of a kind: in one pass."""
    at, end = 0, -1
    while match := _WORD_OR_CODE.search(log, at):
        place, at = match.span()
        if place >= end:
            yield line_start(log, place)
            end = line_end(log, place)
            if log[end : end + 1] in _ENDS:  # else it was cut, perhaps within a word
                at = end


def _starts(log: str) -> Iterator[int]:
    for word in ERROR_WORDS:
        for at in _everywhere(log, word):
            yield line_start(log, at)
    low, high = _middle(log)
    for begin, end in ((0, low), (max(low, high - HEAD), high), (high, len(log))):
        yield from _codes(log, begin, end)


def _codes(log: str, at: int, end: int) -> Iterator[int]:
    """The lines with a code of CANN's, one place for each, not too many."""
    for _ in range(_HITS):
        match = CODE.search(log, at, end)
        if match is None:
            return
        yield line_start(log, match.start())
        at = max(line_end(log, match.start()), match.end())


def _middle(log: str) -> tuple[int, int]:
    """The part that is not searched for words; empty in a log of usual size."""
    return (HEAD, len(log) - TAIL) if len(log) > HEAD + TAIL else (len(log), len(log))


def _everywhere(log: str, word: str) -> list[int]:
    low, high = _middle(log)
    return [*_places(log, word, 0, low), *_places(log, word, high, len(log))]


def _places(log: str, word: str, begin: int, end: int) -> list[int]:
    """One place per line: of the first lines with this word between two places, and of the last."""
    first: list[int] = []
    at = log.find(word, begin, end)
    while at >= 0 and len(first) < _HITS:
        first.append(at)
        at = log.find(word, line_end(log, at), end)
    last: list[int] = []
    while at >= 0 and len(last) < _HITS:
        position = log.rfind(word, at, end)
        if position < 0:
            break
        last.append(position)
        end = max(at, line_start(log, position))
    return [*first, *reversed(last)]


def _block_below(log: str, at: int) -> Iterator[Line]:
    """The lines after the one that `at` is in, as those of a block."""
    for _ in range(_BLOCK_LINES):
        start = line_end(log, at) + 1
        if start >= len(log):
            return
        yield Line(start, clean(cut(log, start)), block=True)
        at = start
