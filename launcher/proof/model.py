"""What a proof says: shown, not shown, or differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["shown", "not shown", "differs"]
"""`differs`: it was tried, and did something else. `not shown`: it could not be tried, or took too long."""


@dataclass(frozen=True, slots=True)
class Proof:
    """One claim and what this machine did. `runs` are the ids of the runs behind it, for `launcher explain`."""

    claim: str
    verdict: Verdict
    text: str
    runs: tuple[str, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def not_shown(claim: str, reason: str) -> Proof:
    """A claim that was not tried here."""
    return Proof(claim, "not shown", reason)
