import pytest

from launcher.units import parse_duration, parse_size, show_bytes, show_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30min", 1800),
        ("1h30min", 5400),
        ("1.5 h", 5400),
        ("12:30:00", 45000),
        ("1-12:00:00", 129600),
        ("1-12:00", 129600),
        ("1-12", 129600),
        ("2-0", 172800),
        ("0:05", 300),
        ("3d", 259200),
    ],
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "ten minutes", "5 weeks", "1:99", "-3s", "1h 30", "h"])
def test_what_is_no_duration_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match="30min"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [("2GiB", 2 << 30), ("500MB", 500_000_000), ("17", 17), ("1K", 1024), ("1.5 kB".replace("k", "K"), 1500)],
)
def test_sizes(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "much", "2XB", "-1", "iB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (60, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (7500, "2 h 05 min"),
        (273600, "3 d 04 h"),
    ],
)
def test_durations_are_shown_in_two_units(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (312_400_000, "312 MB"),
        (1.4e9, "1.4 GB"),
        (5e15, "5000 TB"),
    ],
)
def test_bytes_are_shown_in_decimal_units(count: float, text: str) -> None:
    assert show_bytes(count) == text
