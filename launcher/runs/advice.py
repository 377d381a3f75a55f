"""What a person can do about a failure: the rows of advice.yaml, found by the fields of the failure."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import TypeAdapter

from launcher.runfolder.states import FirstFailure


@dataclass(frozen=True, slots=True)
class Advice:
    """A row of advice.yaml."""

    id: str
    means: str
    do: tuple[str, ...]
    next: str
    rules: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    unsafe: bool = False
    no_progress: bool = False

    def fits(self, failure: FirstFailure, *, unsafe: bool) -> bool:
        """Whether one of the conditions of the row holds."""
        return (
            failure.rule in self.rules
            or failure.code in self.codes
            or failure.signal in self.signals
            or (self.unsafe and unsafe)
            or (self.no_progress and failure.no_progress)
        )


def advice_for(failure: FirstFailure | None, *, unsafe: bool = False) -> Advice | None:
    """The first row that fits; `unsafe` when not all results are in the store. None for what nobody knows."""
    known = failure or FirstFailure()
    return next((row for row in advice_rows() if row.fits(known, unsafe=unsafe)), None)


@functools.cache
def advice_rows() -> tuple[Advice, ...]:
    """All rows of advice.yaml, in order."""
    rows = yaml.safe_load(Path(__file__).with_name("advice.yaml").read_text(encoding="utf-8"))
    return tuple(TypeAdapter(Advice).validate_python(row) for row in rows)
