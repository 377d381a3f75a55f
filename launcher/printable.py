"""Foreign text made safe to show: the words of logs, keys and names must not drive a terminal or a page."""

from __future__ import annotations

import re

_UNSAFE = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f"  # control characters but the tabulator
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff"  # what is invisible, or turns the direction of writing
    "\ud800-\udfff\ufff9-\ufffb\U000e0000-\U000e007f]"
)

_SAFE = bytes([0x09, 0x0A, *range(0x20, 0x7F)])


def printable(text: str) -> str:
    """One line in which whatever could drive a terminal stands as `\\x1b` or `\\u202e`; line ends too."""
    return _UNSAFE.sub(_escaped, text) if _UNSAFE.search(text) else text


def printable_lines(text: str) -> str:
    """The same for text of several lines, which stay lines."""
    if text.isascii() and not text.encode("ascii").translate(None, _SAFE):  # millions of lines of a log are
        return text
    return "\n".join(printable(line) for line in text.split("\n"))


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
