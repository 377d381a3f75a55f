"""Foreign text never drives a terminal."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from launcher.printable import printable, printable_lines


@given(st.text())
def test_nothing_that_drives_a_terminal_is_left(text: str) -> None:
    shown = printable(text)
    assert all(letter == "\t" or unicodedata.category(letter) not in ("Cc", "Cs") for letter in shown)
    assert not set(shown) & set(
        "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u2028\u2029"
    )


def test_usual_text_stays() -> None:
    for text in ("loss 2.3\tok", "überall – ½", "训练完成", "العربية", "👩‍🚀 done"):
        assert printable(text) == text


def test_what_is_escaped_can_be_read() -> None:
    assert printable("a\x1b[31mb\x07\r\n\u202e") == "a\\x1b[31mb\\x07\\x0d\\x0a\\u202e"
    assert printable_lines("a\x1b\nb\r") == "a\\x1b\nb\\x0d"
