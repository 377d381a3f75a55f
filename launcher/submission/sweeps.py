"""A sweep: one run for each combination of some values, under one group name."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import UsageError

if TYPE_CHECKING:
    from launcher.submission.prepare import Prepared

MAX_RUNS = 256
_BRACKETS = {"[": 1, "{": 1, "]": -1, "}": -1}


@dataclass(frozen=True, slots=True)
class Axis:
    """One key and the YAML texts of its values, in the order they were given."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Point:
    """One combination: its values by key, and the job that they make."""

    labels: dict[str, str]
    job: Prepared


def parse_axis(text: str) -> Axis:
    """`base_lr=1e-4,5e-4`; commas inside brackets don't separate. Raises UsageError."""
    key, equals, values = text.partition("=")
    parts = _split(values)
    if not equals or not key.strip() or not all(parts):
        raise UsageError(
            f"expected KEY=VALUE,VALUE…, found '{text}'",
            where="--sweep",
            hint="for example --sweep seed=0,1,2",
        )
    twice = next((part for i, part in enumerate(parts) if part in parts[:i]), None)
    if twice is not None:
        raise UsageError(f"{key} has the value {twice} twice", where="--sweep")
    return Axis(key.strip(), tuple(parts))


def prepare_points(
    job_file: str | Path, axes: Sequence[Axis], *, overrides: Sequence[str] = (), backend: str | None = None
) -> list[Point]:
    """All combinations, planned and checked, before any of them starts. The last axis changes fastest. Raises LauncherError."""
    from launcher.submission.prepare import prepare

    keys = [axis.key for axis in axes]
    if len(set(keys)) != len(keys):
        raise UsageError("a key can be swept only once; give all its values together", where="--sweep")
    if (count := math.prod(len(axis.values) for axis in axes)) > MAX_RUNS:
        raise UsageError(
            f"{count} runs in one sweep; the limit is {MAX_RUNS}", where="--sweep", hint="split it up"
        )
    points = []
    for values in itertools.product(*(axis.values for axis in axes)):
        labels = dict(zip(keys, values, strict=True))
        sets = [*overrides, *(f"{key}={value}" for key, value in labels.items())]
        points.append(Point(labels, prepare(job_file, overrides=sets, backend=backend)))
    return points


def group_name(job_name: str, now: float | None = None) -> str:
    """`<name>-sweep-<yyyymmdd>-<hhmmss>`, UTC."""
    return f"{job_name}-sweep-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}"


def _split(text: str) -> list[str]:
    parts, depth = [""], 0
    for letter in text:
        depth += _BRACKETS.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]
