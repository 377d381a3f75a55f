"""The table of causes: every documented code has a row, and every example of a row is recognised as it."""

import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.diagnosis.evidence import evidence_of, may_state_error, states_error
from launcher.diagnosis.rules import Rule, make_table, rules_page, table

if sys.version_info >= (3, 11):
    import re._parser as parser  # type: ignore[import-not-found]
else:
    import sre_parse as parser

DOCUMENTED = {
    "EI": [*range(1, 21), 9999],
    "EJ": [1, 2, 3, 4],
    "EL": [*range(1, 16), 9999],
    "EE": [*range(1001, 1008), *range(1009, 1024), 2002, 4001, 4002, 4004, 8888, 9999],
    "EH": range(1, 15),
    "EK": [*range(1, 8), 201, 202, 203, 204, 9999],
    "EP": range(1, 9),
    "EZ": [501, 2001, 3002, 3003, 9999],
    "EB": [0, 500, 1000, 3000, 4000, 9000],
    "E1": [9999, 1],
    "E2": [1, 2, 3, 7, 101, 103, 1001, 1002, 2001, 9999],
    "E3": [3, 4, 5, 6, 7, 8, 9, 9001, 9002, 9004, 9005, 9006, 9007, 9008, 9009, 9010, 9011, 9999],
    "E4": [1, 2, 3, 20, 21, 22, 23, 24],
    "E8": [0, 1, 12, 29],
}
"""The codes that CANN's tables list, by their family."""

PRINTABLE = st.characters(min_codepoint=32, max_codepoint=126)

RETURNS = (107001, 107020, 207001, 207018, 507011, 507015, 507033, 507046, 507053, 507054)


@pytest.mark.parametrize("family", DOCUMENTED)
def test_every_documented_code_has_a_row(family: str) -> None:
    for number in DOCUMENTED[family]:
        code = f"{family}{number:04d}"
        rule = table().of_code(code)
        assert rule is not None, code
        assert code in rule.meaning(code) or "{code}" not in rule.means


@pytest.mark.parametrize("number", RETURNS)
def test_return_codes_have_a_row(number: int) -> None:
    assert number in table().by_return


@pytest.mark.parametrize("rule", table().rules, ids=lambda rule: rule.id)
def test_each_example_is_recognised(rule: Rule) -> None:
    for example in rule.examples:
        raised = f"Traceback (most recent call last):\n  File 'x', line 1\n{example}\n"
        for log in (example + "\n", raised):
            best = max(evidence_of(log), key=lambda each: each.weight, default=None)
            assert best is not None and best.rule.id == rule.id, (example, best)


@pytest.mark.parametrize("rule", table().rules, ids=lambda rule: rule.id)
def test_a_row_tells_what_to_do_and_where_it_is_from(rule: Rule) -> None:
    assert rule.means.endswith(".")
    assert rule.do and all(line.endswith(".") for line in rule.do)
    assert rule.next.startswith("launcher ")
    assert rule.source
    assert rule.examples or rule.exit_codes or rule.signals


@pytest.mark.parametrize("rule", [rule for rule in table().rules if rule.match], ids=lambda rule: rule.id)
def test_no_pattern_can_take_more_than_linear_time(rule: Rule) -> None:
    """No repetition without a bound stands in another repetition, and none is longer than 200."""
    assert rule.match is not None
    assert not list(nested(parser.parse(rule.match.pattern), inside=False))


@pytest.mark.parametrize("rule", [rule for rule in table().rules if rule.match], ids=lambda rule: rule.id)
@given(st.data())
def test_a_row_is_asked_for_every_line_that_its_pattern_finds(rule: Rule, data: st.DataObject) -> None:
    """`needles` leave out no form of the words that `match` allows."""
    assert rule.match is not None
    line = data.draw(st.from_regex(rule.match, alphabet=PRINTABLE).filter(lambda text: "\n" not in text))
    assert rule in table().phrases_in(line)


def nested(tree: object, *, inside: bool) -> list[str]:
    found = []
    for op, value in tree:  # type: ignore[attr-defined]
        name = str(op)
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            low, high, body = value
            many = high > 1
            if many and (inside or high > 200):
                found.append(f"{name} {low}..{high}")
            found += nested(body, inside=inside or many)
        elif name == "BRANCH":
            for branch in value[1]:
                found += nested(branch, inside=inside)
        elif name == "SUBPATTERN":
            found += nested(value[3], inside=inside)
        elif name in ("ASSERT", "ASSERT_NOT"):
            found += nested(value[1], inside=inside)
    return found


@pytest.mark.parametrize(
    "line",
    [
        "broadcasting parameters to all ranks",
        "waiting at the barrier",
        "the cache entry is timed out and will be made anew",
        "Connection refused by the user's firewall rules page",
        "Broken pipe handling is on",
        "EI0006 is explained in the documents",
        "model E10001x loaded, checksum E00012 ok",
        "step 507011: loss 2.3",
    ],
)
def test_bare_words_prove_nothing(line: str) -> None:
    assert not [each for each in evidence_of(line + "\n") if each.weight > 1]


@pytest.mark.parametrize(
    "line",
    [
        "E0508 10:00:00.123456 12345 train.py:33] training failed: no more data",
        "F0508 10:00:00.123456 12345 engine.cc:33] Check failed: x > 0",
        "[E508 03:20:31.678 x.ts:1693] [Rank 9] an operator failed",
        'ts=2026-05-08T10:00:00Z level=error msg="no more data, error 3"',
        '{"time": "2026-05-08T10:00:00Z", "level": "error", "msg": "no more data"}',
        "{'severity': 'critical', 'msg': 'error 3'}",
    ],
)
def test_the_level_of_a_line_says_that_it_is_an_error(line: str) -> None:
    assert may_state_error(line)
    assert states_error(line)
    assert [each.line for each in evidence_of(f"step 1\n{line}\n")] == [line]
    quiet = line.replace("E0508", "I0508").replace("F0508", "W0508").replace("[E508", "[W508")
    quiet = quiet.replace("error", "info").replace("critical", "info")
    assert not states_error(quiet)


def test_two_rows_can_not_claim_one_code() -> None:
    first, second = table()["tls"], table()["notify-timeout"]
    stolen = Rule("x", "m.", ("d.",), "launcher x", "s", codes=dict(first.codes or {}))
    with pytest.raises(ValueError, match="EI0016 stands in two rows"):
        make_table([first, second, stolen])


def test_a_meaning_without_a_code_has_no_empty_brackets() -> None:
    assert re.search(r"\(\s*\)|\{", " ".join(rule.meaning("") for rule in table().rules)) is None


def test_the_page_lists_every_rule_with_its_source() -> None:
    page = (Path(__file__).parents[3] / "docs" / "diagnosis.md").read_text()
    assert page.endswith(rules_page()), (
        "replace the table at its end by launcher.diagnosis.rules.rules_page()"
    )
