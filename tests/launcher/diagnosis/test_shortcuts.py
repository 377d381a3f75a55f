"""Whatever is looked at only where a first pass finds a word gives what looking at everything gives."""

from typing import Any

import pytest

from launcher.diagnosis import lines
from launcher.diagnosis.evidence import PHRASE_LIMIT, evidence_of, may_state_error, states_error
from launcher.diagnosis.rules import table
from tests.launcher.diagnosis.corpus_logs import corpus_rows

LOGS = [
    *(rank["log"] for row in corpus_rows() for rank in row["ranks"]),
    *(example for rule in table().rules for example in rule.examples),
    *(f"{name}: words\n" for name in table().by_exception),
    "fatal: no\nSystemExit: 3\nmy.Exit: 4\nErr\x1b[31mor: in two colours",
]


def test_a_line_that_states_an_error_is_never_passed_over() -> None:
    stated = [line for log in LOGS for line in log.splitlines() if states_error(lines.clean(line))]
    assert len(stated) > 300
    assert [line for line in stated if not may_state_error(line)] == []


@pytest.mark.parametrize("log", ["", "step 3 loss 1.5\n" * 40, "[INFO] epoch: 1 step: 2\n"])
def test_a_log_without_errors_is_left_after_one_pass(log: str) -> None:
    assert not may_state_error(log)
    assert evidence_of(log) == []


def test_a_small_log_gives_the_same_evidence_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    small: list[Any] = [evidence_of(log) for log in LOGS]
    assert sum(map(len, small)) > 300
    monkeypatch.setattr(lines, "SMALL", -1)
    assert [evidence_of(log) for log in LOGS] == small


def test_all_rows_are_asked_for_their_words_at_once() -> None:
    """Also where one word begins with another one, or begins within it."""
    rows = table()
    texts = [line[:PHRASE_LIMIT] for log in LOGS for line in log.splitlines()]
    texts += [" ".join(rule.words + rule.needles) for rule in rows.phrases]
    assert [rows.phrases_in(text) for text in texts] == [
        [rule for rule in rows.phrases if rule.fits(text)] for text in texts
    ]
    assert sum(len(rows.phrases_in(text)) for text in texts) > 300
