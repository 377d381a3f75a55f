"""Where the time of the profiled steps went: the operators of each rank that was profiled, by time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeGuard

from launcher.errors import IntegrityError
from launcher.jsontext import is_number
from launcher.runfolder.paths import PROFILE
from launcher.runs.folder import RunFolder

SHOWN = 3
"""Operators that one line names."""
_SUMMARY = re.compile(rf"{PROFILE}/node-\d+/rank-\d+\.json")


@dataclass(frozen=True, slots=True)
class Operator:
    """All calls of one kind of operator: their number, their milliseconds, their share of all operators' time."""

    type: str
    calls: int
    ms: float
    share: float


@dataclass(frozen=True, slots=True)
class RankProfile:
    """The slowest operator first. `trace` is the folder of the trace in the run's folder."""

    rank: int
    first_step: int
    last_step: int
    device: str
    operators: tuple[Operator, ...]
    trace: str

    @property
    def steps(self) -> int:
        return self.last_step - self.first_step + 1

    @property
    def words(self) -> str:
        """`rank 0, steps 100 to 110: MatMul 41 %, LayerNorm 12 %, …`."""
        slowest = ", ".join(f"{each.type} {100 * each.share:.0f} %" for each in self.operators[:SHOWN])
        return f"rank {self.rank}, steps {self.first_step} to {self.last_step}: {slowest}"


def profiles_of(folder: RunFolder) -> tuple[RankProfile, ...]:
    """By rank. A damaged summary, or one of another form, is left out. Raises StoreError."""
    return tuple(sorted(_profiles(folder), key=lambda profile: profile.rank))


def _profiles(folder: RunFolder) -> Iterator[RankProfile]:
    for key in folder.sizes(f"{PROFILE}/"):
        if not _SUMMARY.fullmatch(key):
            continue
        with suppress(IntegrityError):
            profile = _read(folder.json(key), key.removesuffix(".json"))
            if profile is not None:
                yield profile


def _read(value: Any, trace: str) -> RankProfile | None:
    if not isinstance(value, dict) or not isinstance(value.get("operators"), list):
        return None
    rank, steps = value.get("rank"), value.get("steps")
    if (
        not _is_whole(rank)
        or not isinstance(steps, list)
        or len(steps) != 2
        or not all(map(_is_whole, steps))
    ):
        return None
    operators = tuple(filter(None, map(_operator, value["operators"])))
    if not operators:
        return None
    return RankProfile(rank, steps[0], steps[1], str(value.get("device", "")), operators, trace)


def _operator(value: Any) -> Operator | None:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return None
    calls, ms, share = value.get("calls"), value.get("ms"), value.get("share")
    if not _is_whole(calls) or not is_number(ms) or not is_number(share):
        return None
    return Operator(value["type"], calls, float(ms), float(share))


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
