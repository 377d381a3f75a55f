"""Plain words by YAML 1.2's core schema; expectations are from the examples of the specification, chapter 10.3.2."""

from __future__ import annotations

import math

import pytest

from vitmodels.document.scalars import ScalarError, joined, resolve


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None), ("~", None), ("", None), ("Null", None), ("nUll", "nUll"),
        ("true", True), ("True", True), ("FALSE", False), ("tRUE", "tRUE"),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("N", "N"),
        ("0", 0), ("-19", -19), ("+12", 12), ("010", 10), ("0o10", 8), ("0x3A", 58), ("0o8", "0o8"), ("-0x1", "-0x1"),
        ("1_000", "1_000"), ("0b11", "0b11"), ("1,000", "1,000"),
        ("0.", 0.0), ("-0.0", 0.0), (".5", 0.5), ("+12e03", 12000.0), ("-2E+05", -200000.0),
        ("1e-3", 0.001), ("5E4", 50000.0), ("1.5e", "1.5e"), (".", "."), ("e3", "e3"), ("1.2.3", "1.2.3"),
        (".inf", math.inf), ("-.Inf", -math.inf), ("+.INF", math.inf), ("inf", "inf"), ("nan", "nan"),
        ("12:30:00", "12:30:00"), ("08:00:00", "08:00:00"), ("1-12:00:00", "1-12:00:00"), ("2026-01-01", "2026-01-01"),
        ("=", "="), ("<<", "<<"), ("0o", "0o"), ("0x", "0x"), ("١٢", "١٢"),
    ],
)  # fmt: skip
def test_plain_words(text: str, value: object) -> None:
    result = resolve(text)
    assert result == value
    assert type(result) is type(value)


def test_not_a_number() -> None:
    assert all(math.isnan(float(resolve(text) or 0)) for text in (".nan", ".NaN", ".NAN"))


def test_quotes_make_text() -> None:
    assert resolve("3", plain=False) == "3"
    assert resolve("", plain=False) == ""


def test_tags_decide() -> None:
    assert resolve("3", tag="str") == "3"
    assert resolve("3", plain=False, tag="int") == 3
    assert resolve("3", tag="float") == 3.0
    assert isinstance(resolve("3", tag="float"), float)
    for text, tag in (
        ("x", "int"),
        ("1.5", "int"),
        ("true", "int"),
        ("true", "float"),
        ("1", "bool"),
        ("0", "null"),
    ):
        with pytest.raises(ScalarError, match=tag):
            resolve(text, tag=tag)


@pytest.mark.parametrize("text", ["9" * 41, "1e999", "-1e999", "a\0b", "a\x1b[31m", "\ud800"])
def test_what_no_value_can_be(text: str) -> None:
    with pytest.raises(ScalarError):
        resolve(text)


def test_surrogate_pairs_are_one_character() -> None:
    assert joined("\ud83d\ude00!") == "\U0001f600!"
    assert joined("\ud83d") == "\ud83d"
