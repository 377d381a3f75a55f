"""Whatever is looked at only where a first pass finds a word gives what looking at everything gives."""

import random
import re
from typing import Any

import pytest

from launcher.diagnosis import evidence, lines, tracebacks
from launcher.diagnosis.cut import clean
from launcher.diagnosis.evidence import PHRASE_LIMIT, evidence_of, may_state_error, states_error
from launcher.diagnosis.forms import form_of
from launcher.diagnosis.rules import table
from tests.launcher.diagnosis.corpus_logs import corpus_rows

LOGS = [
    *(rank["log"] for row in corpus_rows() for rank in row["ranks"]),
    *(example for rule in table().rules for example in rule.examples),
    *(f"{name}: words\n" for name in table().by_exception),
    "fatal: no\nSystemExit: 3\nmy.Exit: 4\nErr\x1b[31mor: in two colours",
]


def test_a_line_that_states_an_error_is_never_passed_over() -> None:
    stated = [line for log in LOGS for line in log.splitlines() if states_error(clean(line))]
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


def other_numbers(text: str, chance: random.Random) -> str:
    """The same line with other digits in some of its numbers."""

    def other(match: re.Match[str]) -> str:
        return "".join(chance.choices("0123456789", k=len(match[0]))) if chance.random() < 0.7 else match[0]

    return re.sub(r"\d+", other, text)


NUMBERS = """\
OSError: [Errno 28] x
OSError: [Errno 5] x
RuntimeError: EI0002: rank [3] failed 507018, 12 s
error: ret: 507011
failed 1.507011 2026-11-28T10:00:01.507018
drvErr=87 drvErr=12
pkg.12.Error: x
urllib3.exceptions.MaxRetryError: (403)
[ERROR] HCCL(12,ab34,python):2026-11-28-10:00:01.123.456 EI0006 ret(-67) remote rank:[7]
"""


def test_lines_that_differ_in_numbers_only_are_judged_as_if_alone() -> None:
    chance = random.Random(22)
    known = [clean(line) for log in (*LOGS, NUMBERS) for line in log.splitlines()]
    alike = 0
    for line in known:
        for raised, block in ((False, False), (True, False), (False, True)):
            evidence._judge(line, raised, block)
            for _ in range(4):
                text = other_numbers(line, chance)
                alike += text != line and form_of(text) == form_of(line) is not None
                assert evidence._judge(text, raised, block) == evidence._judge_anew.__wrapped__(
                    text, raised, block
                )
    assert alike > 1000


def test_no_exception_of_the_table_has_a_number_by_itself() -> None:
    """Its form would not keep it."""
    for name in table().by_exception:
        assert not re.search(r"(?<![A-Za-z_\d])\d+(?![A-Za-z_\d])", name)


FRAMES = [
    '  File "Task.py", line 3',
    "    x()",
    "  | Traceback (most recent call last):",
    "  | ValueError: a",
    " \x1b[31mError: b",
    "",
    " " * 5000,
    "  c\rKeyError: d",
    "step 3 loss 1.0",
    "KeyError: e",
]


@pytest.mark.parametrize("shortcut", ["frames", "progress"])
def test_a_shortcut_within_a_log_changes_no_evidence(monkeypatch: pytest.MonkeyPatch, shortcut: str) -> None:
    chance = random.Random(22)
    logs = [*LOGS, *("\n".join(chance.choices(FRAMES[:2] * 4 + FRAMES, k=12)) for _ in range(200))]
    logs = [*logs, *(f"{tracebacks.TRACEBACK}\n{log}\nE\n" for log in logs[-200:])]
    logs.append(f"{tracebacks.TRACEBACK}\n" + "  x\n" * 399 + "KeyError: in time\n")
    logs.append(f"{tracebacks.TRACEBACK}\n" + "  x\n" * 400 + "KeyError: too late\n")
    short = [evidence_of(log) for log in logs]
    if shortcut == "frames":
        monkeypatch.setattr(tracebacks, "_FRAMES", re.compile("(?!)"))
    else:
        monkeypatch.setattr(evidence, "last_progress", lambda log, found, _: lines.last_progress(log, found))
    assert [evidence_of(log) for log in logs] == short
    assert sum(map(len, short)) > 500
