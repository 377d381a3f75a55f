"""Patterns of a job file are searched in any log, and none stops the node program."""

import re

import pytest

from launcher.ranks import boundedsearch
from launcher.ranks.boundedsearch import is_found


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("EI0006", "a\nb EI0006\n", True),
        ("EI0006", "a\nb\n", False),
        ("ECC.*error", "x\nECC: many errors", True),
        ("ECC.*error", "ECC\nerror", False),
        (r"\d+ of \d+ ranks", "12 of 16 ranks\udcff", True),
    ],
)
def test_a_pattern_is_searched_as_python_does(pattern: str, text: str, found: bool) -> None:
    assert is_found(re.compile(pattern), text) is found


@pytest.mark.system
def test_one_that_takes_for_ever_counts_as_absent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(boundedsearch, "PATIENCE_S", 1.0)
    assert not is_found(re.compile("(a+)+$"), "a" * 5000 + "b")
    assert "(a+)+$" in caplog.text
