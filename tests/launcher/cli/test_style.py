import pytest

from launcher.cli.style import Column, cut, paint, table
from launcher.cli.terminal import shown

COLUMNS = (
    Column("RUN"),
    Column("LOSS", rank=2, right=True),
    Column("AGE", rank=5),
    Column("NOW", rank=1, flexible=True, least=8),
)
ROWS = [["run-one", "0.5", "3 s", "queued: device 0 is held"], ["run-two", "12.25", "", "done"]]


def test_without_a_width_everything_is_shown() -> None:
    assert table(COLUMNS, ROWS, width=None).splitlines() == [
        "RUN       LOSS  AGE  NOW",
        "run-one    0.5  3 s  queued: device 0 is held",
        "run-two  12.25       done",
    ]


@pytest.mark.parametrize("width", range(20, 60))
def test_no_line_is_wider_than_asked_for(width: int) -> None:
    lines = table(COLUMNS, ROWS, width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert all("run-" in line for line in lines[1:])


def test_what_gives_way_first() -> None:
    assert table(COLUMNS, ROWS, width=40).splitlines()[1] == "run-one    0.5  3 s  queued: device 0 i…"
    assert "AGE" not in table(COLUMNS, ROWS, width=25)
    assert "LOSS" in table(COLUMNS, ROWS, width=25)
    assert "LOSS" not in table(COLUMNS, ROWS, width=18)


def test_columns_without_content_are_left_out() -> None:
    assert "AGE" not in table(COLUMNS, [["a", "1", "", "x"]], width=None)


def test_colours_only_where_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    styled = table(COLUMNS, ROWS, width=None, styles=[["red", "", "", ""]] * 2, colour=True)
    assert "\x1b[31mrun-one\x1b[0m" in shown(styled)
    assert "\x1b" not in table(COLUMNS, ROWS, width=None, styles=[["red", "", "", ""]] * 2)
    assert paint("x", "red", False) == "x"
    assert cut("abcdef", 4) == "abc…"
