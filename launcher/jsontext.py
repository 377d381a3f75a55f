"""JSON that somebody else wrote, or that a crash cut off: a value, or a ValueError, whatever it holds."""

from __future__ import annotations

import json
from typing import Any, TypeGuard

MOST = 1e300
"""Larger numbers, which only a damaged file holds, count as none."""


def parse_json(text: str | bytes) -> Any:
    """As json.loads. Also what is nested too deep for Python, or no text at all, is a ValueError."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def json_object(text: str | bytes) -> dict[str, Any]:
    """The same for an object; any other value is a ValueError."""
    value = parse_json(text)
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, found {type(value).__name__}")
    return value


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a number that a float can hold and count with: no NaN, no infinity, no integer of hundreds of digits."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST
