"""How a problem is shown."""

from __future__ import annotations

import json

import pytest

from vitmodels.document.problem import Place, Problem, in_order, listing_of
from vitmodels.secrets import mask


def caret_line(line: str, column: int) -> tuple[str, str]:
    """The source line as shown and the text above which the caret stands, without the gutter."""
    shown = str(Problem(Place("x", 1, column, line), "m")).splitlines()
    gutter = shown[1].index("| ") + 2
    return shown[1][gutter:], shown[2][gutter:]


def test_headline_then_source_then_caret_then_hint() -> None:
    place = Place("jobs/x.yaml", 14, 13, "    epochs: ten")
    problem = Problem(
        place, "expected a whole number ≥ 1, found 'ten'", path="model.set.epochs", hint="write 10"
    )
    assert str(problem).splitlines() == [
        "jobs/x.yaml:14:13: model.set.epochs: expected a whole number ≥ 1, found 'ten'",
        "   14 |     epochs: ten",
        "      |             ^",
        "  hint: write 10",
    ]


def test_tabs_keep_the_caret_in_place() -> None:
    line, caret = caret_line("\tepochs:\tten", 10)
    assert line.index("ten") == len(caret) - 1


def test_wide_characters_take_two_columns() -> None:
    line, caret = caret_line("name: 训练 x", 10)
    assert line.index("x") + 2 == len(caret) - 1  # two characters before it are two columns wide


def test_combining_marks_take_none() -> None:
    line, caret = caret_line("e\u0301: x", 5)
    assert line.index("x") - 1 == len(caret) - 1


@pytest.mark.parametrize("column", [1, 60, 200, 399])
def test_long_lines_show_the_part_around_the_column(column: int) -> None:
    source = "." * (column - 1) + "X" + "." * (400 - column)
    line, caret = caret_line(source, column)
    assert len(line) <= 102
    assert line[len(caret) - 1] == "X"


def test_control_characters_never_reach_the_terminal() -> None:
    assert "\x1b" not in str(Problem(Place("x", 1, 1, "a\x1b[31m"), "m"))


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("s3://AK:SK@bucket/x", "s3://*****@bucket/x"),
        ("url: s3://bucket/a@b", "url: s3://bucket/a@b"),
        ("AWS_SECRET_ACCESS_KEY: abc", "AWS_SECRET_ACCESS_KEY: ***"),
        ('{MY_TOKEN: "a b", X: 1}', "{MY_TOKEN: *****, X: 1}"),
        ("--set env.DB_PASSWORD=x", "--set env.DB_PASSWORD=*"),
        ("nothing: here", "nothing: here"),
    ],
)
def test_credentials_are_starred_out(text: str, masked: str) -> None:
    assert mask(text) == masked
    assert len(mask(text)) == len(text)
    shown = Problem(Place("x", 1, 1, text), text, hint=text)
    assert json.dumps(shown.to_json(), ensure_ascii=False).count(json.dumps(masked)[1:-1]) == 3


def test_problems_are_listed_in_the_order_of_the_text_once_each() -> None:
    def problem(line: int, column: int, in_file: bool = True) -> Problem:
        return Problem(Place("x.yaml" if in_file else "--set a=1", line, column, "a", in_file), "m")

    problems = in_order([problem(1, 1, False), problem(9, 1), problem(2, 5), problem(2, 3), problem(2, 5)])
    places = [problem.place for problem in problems]
    assert [(p.in_file, p.line, p.column) for p in places] == [
        (True, 2, 3),
        (True, 2, 5),
        (True, 9, 1),
        (False, 1, 1),
    ]
    assert listing_of(problems).endswith("\n4 problems")
    assert json.loads(json.dumps(problems[3].to_json()))["file"] == "--set a=1"
