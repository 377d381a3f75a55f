"""Whether a regular expression searches a line in linear time, judged from its structure before it is ever used.

Python's engine tries every way to share a text among repeats. Two repeats without a bound that can match the same text, or one that can
begin anywhere, make it quadratic or worse. The search itself counts as such a repeat in front, unless the pattern begins with `^`.
"""

from __future__ import annotations

import importlib
import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_PARSER: Any = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")
_ASCII = frozenset(map(chr, range(128)))
_OTHERS = frozenset("é█½")
"""Stand for all letters beyond ASCII, which are not told apart."""
ANY = _ASCII | _OTHERS
UNBOUNDED = 129
"""A repeat that may match more often than this counts as one without a bound."""
MOST_WAYS = 100
MOST_PATHS = 64
MOST_COPIES = 4
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")
_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}


class NotLinear(ValueError):
    """The pattern may take more than linear time; the text says which part, and what to write instead."""


@dataclass(frozen=True, slots=True)
class _Item:
    """A set of letters, `least` to `most` of them; `most` is None without a bound. `start`: the search's own repeat."""

    letters: frozenset[str]
    least: int = 1
    most: int | None = 1
    start: bool = False


_Path = tuple[_Item, ...]


def check_linear(pattern: str) -> None:
    """Raises re.error for what is no regular expression, NotLinear for one that may take more than linear time."""
    re.compile(pattern)
    tree = _PARSER.parse(pattern)
    flags = int(tree.state.flags)
    for path in _paths(list(tree), bool(flags & re.IGNORECASE)):
        anchored = bool(tree) and str(tree[0][0]) == "AT" and "BEGINNING" in str(tree[0][1])
        _check_path(path if anchored else (_Item(ANY, 0, None, start=True), *path))


def _check_path(path: _Path) -> None:
    ways, shared = 1, frozenset[str]()
    for place, item in enumerate(path):
        if item.most in (None, item.least) or not item.letters & (_following(path, place) | shared):
            continue
        ways *= (item.most or 0) - item.least + 1
        shared |= item.letters
    if ways > MOST_WAYS:
        raise NotLinear(
            f"its bounded repeats can share a text in {ways} ways; at most {MOST_WAYS} are allowed"
        )
    unbounded = [place for place, item in enumerate(path) if item.most is None]
    for first, second in itertools.combinations(unbounded, 2):
        _check_pair(path, first, second)


def _following(path: _Path, place: int) -> frozenset[str]:
    """The letters that may come right after an item."""
    letters = frozenset[str]()
    for item in path[place + 1 :]:
        letters |= item.letters
        if item.least:
            break
    return letters


def _check_pair(path: _Path, first: int, second: int) -> None:
    """Two repeats without a bound need something between them that ends one of them."""
    one, two = path[first], path[second]
    if not one.letters & two.letters:
        return
    between = [item.letters for item in path[first + 1 : second] if item.least]
    if any(not letters & two.letters or not letters & one.letters for letters in between):
        return
    where = "in front of a repeat without a bound" if one.start else "between two repeats without a bound"
    raise NotLinear(
        f"{where} it needs a character that the repeat can't match; begin with a fixed word or with ^, "
        "or give the repeat a bound, such as {0,40} for *"
    )


def _paths(nodes: Sequence[Any], fold: bool) -> list[_Path]:
    """The sequences of items that the pattern may stand for, one for each choice of its alternatives."""
    paths: list[_Path] = [()]
    for node in nodes:
        paths = [(*path, *more) for path in paths for more in _node_paths(node, fold)]
        if len(paths) > MOST_PATHS:
            raise NotLinear(f"it has more than {MOST_PATHS} alternatives")
    return paths


def _node_paths(node: Any, fold: bool) -> Iterator[_Path]:
    kind, value = str(node[0]), node[1]
    if kind == "AT":
        yield ()
    elif kind == "SUBPATTERN":
        yield from _paths(value[3], fold or bool(value[1] & re.IGNORECASE))
    elif kind == "ATOMIC_GROUP":
        yield from _paths(value, fold)
    elif kind == "BRANCH":
        for branch in value[1]:
            yield from _paths(branch, fold)
    elif kind in _REPEATS:
        yield from _repeat_paths(value, fold)
    else:
        yield (_Item(_letters(kind, value, fold)),)


def _repeat_paths(value: Any, fold: bool) -> Iterator[_Path]:
    least, most, body = int(value[0]), int(value[1]), value[2]
    paths = _paths(body, fold)
    single = [path[0] for path in paths if len(path) == 1 and (path[0].least, path[0].most) == (1, 1)]
    if len(single) == len(paths):
        letters = frozenset[str]().union(*(item.letters for item in single))
        yield (_Item(letters, least, most if most < UNBOUNDED else None),)
        return
    if most > MOST_COPIES:
        raise NotLinear("a group of several parts is repeated; repeat single characters or classes only")
    for copies in range(least, most + 1):
        for chosen in itertools.islice(itertools.product(paths, repeat=copies), MOST_PATHS + 1):
            yield tuple(itertools.chain.from_iterable(chosen))


def _letters(kind: str, value: Any, fold: bool) -> frozenset[str]:
    """The letters of the alphabet that one part matches."""
    if kind == "ANY":
        return ANY
    if kind == "IN":
        parts = [(str(part[0]), part[1]) for part in value]
        found = frozenset[str]().union(*(_letters(k, v, fold) for k, v in parts if k != "NEGATE"))
        return ANY - (found & _ASCII) if any(k == "NEGATE" for k, _ in parts) else found
    if kind == "CATEGORY":
        return frozenset(letter for letter in ANY if re.fullmatch(_CATEGORIES[str(value)], letter))
    if kind in ("LITERAL", "NOT_LITERAL", "RANGE"):
        low, high = value if kind == "RANGE" else (value, value)
        found = frozenset(letter for letter in _ASCII if _within(letter, low, high, fold))
        return ANY - found if kind == "NOT_LITERAL" else found | (_OTHERS if high > 127 else set())
    raise NotLinear("it looks ahead or behind, or refers to a group; leave that out")


def _within(letter: str, low: int, high: int, fold: bool) -> bool:
    forms = (letter, letter.lower(), letter.upper()) if fold else (letter,)
    return any(low <= ord(form) <= high for form in forms)
