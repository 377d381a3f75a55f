"""Numbers that a platform puts into the environment of its containers."""

from __future__ import annotations

from collections.abc import Mapping

from launcher.errors import PlanError


def number_of(env: Mapping[str, str], *names: str) -> int | None:
    """The first of these variables that is set, None when none is. Raises PlanError for one that is no number."""
    for name in names:
        text = env.get(name, "").strip()
        if text and not text.isdecimal():
            raise PlanError(f"the platform set {name}={text!r}, which is no number")
        if text:
            return int(text)
    return None
