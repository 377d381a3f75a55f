"""Durations, bytes and rates: parse what people type, print what people read, nothing else."""

from __future__ import annotations

import re

from vitmodels.validation.rule import RuleError

_DURATION_S = {"s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"": 1, "B": 1}
for _power, _letter in enumerate("KMGTP", start=1):
    _BYTES[f"{_letter}B"] = 1000**_power
    _BYTES[f"{_letter}iB"] = _BYTES[_letter] = 1024**_power

DURATION_FORMS = "'90s', '30min', '2h', '3d', '1h30min', '12:30:00' or '1-12:00:00'"
SIZE_FORMS = "'500MB', '2GiB' or a whole number of bytes"


def parse_duration(text: str | int | float) -> int:
    """Seconds of a duration such as `30min`, `1h30min`, `12:30:00` (h:m:s), `1-12:00:00` (days-h:m:s) or `1-12`.

    A bare number is refused, because readers disagree on whether it means seconds or minutes.
    Raises ValueError with the accepted forms.
    """
    text = str(text).strip()
    if match := re.fullmatch(r"(?:(\d+)-)?(\d+):([0-5]\d)(?::([0-5]\d))?", text):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return days * 86400 + hours * 3600 + minutes * 60 + seconds
    if match := re.fullmatch(r"(\d{1,3})-(\d{1,2})", text):
        return int(match[1]) * 86400 + int(match[2]) * 3600
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text)
    compact = "".join(text.split())
    if (
        parts
        and "".join(number + unit for number, unit in parts) == compact
        and all(u in _DURATION_S for _, u in parts)
    ):
        return round(sum(float(number) * _DURATION_S[unit] for number, unit in parts))
    raise RuleError(expected=f"a duration such as {DURATION_FORMS}")


def parse_size(text: str | int) -> int:
    """Bytes of a size such as `2GiB` (1024³) or `500MB` (1000²). Raises ValueError with the accepted forms."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGTP]?i?B?)", str(text).strip())
    if not match or match[2] not in _BYTES:
        raise RuleError(expected=f"a size such as {SIZE_FORMS}")
    return round(float(match[1]) * _BYTES[match[2]])


def show_duration(seconds: float) -> str:
    """`47 s`, `3 min 12 s`, `2 h 05 min`, `3 d 04 h`: two units at most."""
    total = max(0, round(seconds))
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    if total < 86400:
        return f"{total // 3600} h {total % 3600 // 60:02d} min"
    return f"{total // 86400} d {total % 86400 // 3600:02d} h"


def show_bytes(count: float) -> str:
    """Decimal units, as disks and stores are sold: `312 MB`, `1.4 GB`."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")
