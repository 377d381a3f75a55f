"""The form of a line: all of it that its diagnosis depends on. Lines of one form differ only in numbers that no rule looks at."""

from __future__ import annotations

import re
from functools import cache, lru_cache

from launcher.diagnosis.cut import ZEROS
from launcher.diagnosis.lines import any_of
from launcher.diagnosis.rules import Rule, table

_TELLING = re.compile(
    r"[0-9](?:(?<=[A-Za-z_].)[0-9]*|[0-9]*(?=[A-Za-z_])|(?<![0-9].)(?<![0-9][.,].)[0-9]{5}(?![0-9]))"
)
"""Digits of a code or a name, which touch a letter, and of a return code, which has six. Decided without the value of any digit."""
_COUNT = re.compile(r"\{\d*,?\d*\}")


def form_of(text: str) -> tuple[str, ...] | None:
    """The line with each digit as 0, and the digits that count. None where a rule may look for a number that stands by itself, and
    for a line that is not ASCII.

    Every pattern takes all digits alike but those of the rows that `_numbered` has, and every code that is looked up is kept. The
    rank that a line names as its peer is none of its form.
    """
    if not text.isascii():
        return None
    zeros = text.translate(ZEROS)
    return None if _may_count(zeros) else (zeros, *_TELLING.findall(text))


@lru_cache(maxsize=256)
def _may_count(zeros: str) -> bool:
    return _numbered().search(zeros) is not None


@cache
def _numbered() -> re.Pattern[str]:
    """The words with a number, and all words of a row whose pattern has one, each digit as 0."""
    words = {word.translate(ZEROS) for rule in table().phrases for word in _numbered_of(rule)}
    return re.compile(any_of(sorted(words)) or "(?!)" if all(words) else "")


def _numbered_of(rule: Rule) -> set[str]:
    own = {word for word in (*rule.words, *rule.needles) if re.search(r"\d", word)}
    if rule.match and re.search(r"\d", _COUNT.sub("", rule.match.pattern)):
        own |= set(rule.needles or ("",))
    return own
