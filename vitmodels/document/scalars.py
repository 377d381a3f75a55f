"""Scalars by the YAML 1.2 core schema: which plain words are null, booleans and numbers; all others are text."""

from __future__ import annotations

import math
import re

Value = None | bool | int | float | str

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NAN = frozenset((".nan", ".NaN", ".NAN"))
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_MAX_DIGITS = 40


class ScalarError(ValueError):
    """The scalar can't be a value; the message is for the user."""


def joined(text: str) -> str:
    """The text with pairs of surrogates as the one character they stand for, as JSON writes them (`\\ud83d\\ude00`)."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        return text  # half a pair: `resolve` refuses it


def resolve(text: str, *, plain: bool = True, tag: str = "") -> Value:
    """The value of a scalar. `plain`: written without quotes. `tag`: '' or str, int, float, bool, null.

    Raises ScalarError: a number that is too long or too large, text with control characters,
    text that isn't what its tag says.
    """
    bad = _UNFIT.search(text)
    if bad:
        raise ScalarError(f"the text holds the unprintable character U+{ord(bad[0]):04X}")
    if tag == "str" or (not plain and not tag):
        return text
    value = _plain(text)
    if tag and not _is_a(value, tag):
        raise ScalarError(f"'{text}' is not what its tag !!{tag} says")
    return float(value) if tag == "float" and isinstance(value, int) else value


def _plain(text: str) -> Value:
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text) or _OCTAL.fullmatch(text) or _HEX.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            raise ScalarError(f"a number of {len(text)} digits is too long")
        return int(text) if _INT.fullmatch(text) else int(text, 0)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if math.isinf(number):
            raise ScalarError(f"{_cut(text)} is too large for a number")
        return number
    if _INFINITY.fullmatch(text):
        return -math.inf if text.startswith("-") else math.inf
    return math.nan if text in _NAN else text


def _is_a(value: Value, tag: str) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        "null": value is None,
        "bool": isinstance(value, bool),
        "int": number and isinstance(value, int),
        "float": number,
    }[tag]


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_DIGITS else f"{text[:_MAX_DIGITS]}…"
