"""The valid name that a mistyped one was probably meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, valid: Iterable[str]) -> str:
    """The most similar valid name, or '' when none is similar. Case is ignored, and `-`, `_` and blanks are alike."""
    by_shape: dict[str, str] = {}
    for candidate in valid:
        by_shape.setdefault(_shape(candidate), candidate)
    matches = difflib.get_close_matches(_shape(name), by_shape, n=1, cutoff=0.65)
    return by_shape[matches[0]] if matches else ""


def listing(names: Iterable[str], last: str = "or") -> str:
    """`a, b or c`."""
    words = list(names)
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def _shape(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")
