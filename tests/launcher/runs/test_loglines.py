from datetime import datetime

import pytest

from launcher.diagnosis.stamps import stamp_of
from launcher.runs.loglines import LogLine, error_texts, in_time_order, parse_since


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21 23:42:28,598 INFO train: done",
        "[ERROR] ME(77,7f2,python):2026-11-21-23:42:28.598.123 [mindspore/ccsrc/x.cc:12] broken",
        "2026-11-21T23:42:28.598 broken",
    ],
)
def test_the_time_of_a_line_as_python_mindspore_and_iso_write_it(text: str) -> None:
    assert stamp_of(text) == datetime(2026, 11, 21, 23, 42, 28, 598000).timestamp()


def test_a_time_in_utc() -> None:
    assert stamp_of("1970-01-02T00:00:01Z x") is None  # no run was that long ago
    assert stamp_of("2026-11-21T23:42:28Z x") == 1795304548.0


@pytest.mark.parametrize("text", ["epoch 1", "", "2026-13-41 99:00:00 x", "x" * 90 + "2026-11-21 23:42:28"])
def test_lines_without_a_time(text: str) -> None:
    assert stamp_of(text) is None


def line(process: str, time: float, text: str, attempt: int = 1) -> LogLine:
    return LogLine(time, attempt, 0, process, text)


def test_logs_are_merged_by_time_and_attempt_and_each_keeps_its_order() -> None:
    first = [line("rank-0", 1, "a"), line("rank-0", 5, "c"), line("rank-0", 4, "c2"), line("rank-0", 9, "e")]
    second = [line("rank-1", 3, "b"), line("rank-1", 6, "d")]
    later = [line("rank-0", 2, "f", attempt=2)]
    assert [each.text for each in in_time_order([first, second, later])] == [
        "a",
        "b",
        "c",
        "c2",
        "d",
        "e",
        "f",
    ]


def test_since_takes_durations_and_times() -> None:
    now = datetime(2026, 11, 21, 12, 0).timestamp()
    assert parse_since("10min", now) == now - 600
    assert parse_since("9:30", now) == datetime(2026, 11, 21, 9, 30).timestamp()
    assert parse_since("2026-11-20 14:30", now) == datetime(2026, 11, 20, 14, 30).timestamp()
    with pytest.raises(ValueError, match=r"how long ago .* found 'soon'"):
        parse_since("soon", now)


def test_errors_are_whole_tracebacks_and_lines_that_state_one() -> None:
    texts = [
        "ok",
        "Traceback (most recent call last):",
        "  File x",
        "ValueError: no",
        "fine",
        "[ERROR] HCCL EI0006",
        "",
    ]
    assert error_texts(texts) == [False, True, True, True, False, True, False]
