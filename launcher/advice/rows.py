"""What a person can do about a failure: the rows of the table of causes and of advice.yaml, found by the fields of the failure."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from launcher.diagnosis.rules import rows_in, table
from launcher.runfolder.states import FirstFailure


@dataclass(frozen=True, slots=True)
class Advice:
    """A row of advice.yaml, or what a row of the table of causes says to people. `repeats`: a restart would fail the same way."""

    id: str
    means: str
    do: tuple[str, ...]
    next: str
    rules: tuple[str, ...] = ()
    unsafe: bool = False
    no_progress: bool = False
    repeats: bool = False

    def fits(self, failure: FirstFailure, *, unsafe: bool) -> bool:
        """Whether one of the conditions of the row holds."""
        return (
            failure.rule in self.rules
            or (self.unsafe and unsafe)
            or (self.no_progress and failure.no_progress)
        )


def advice_for(failure: FirstFailure | None, *, unsafe: bool = False) -> Advice | None:
    """The advice of the table of causes, else the first row of advice.yaml that fits; None for an unknown failure.

    `unsafe` when not all results are in the store.
    """
    known = failure or FirstFailure()
    advice = _of_table(known)
    if advice is None or advice.id == "unknown":
        advice = next((row for row in advice_rows() if row.fits(known, unsafe=unsafe)), advice)
    return advice


def would_repeat(failure: FirstFailure | None, advice: Advice | None) -> bool:
    """Whether a restart would fail the same way: as it was decided when the run ended, else as the advice says."""
    if failure is not None and failure.repeats is not None:
        return failure.repeats
    return advice is not None and advice.repeats


def _of_table(failure: FirstFailure) -> Advice | None:
    """The row of the failure's rule; the row for unknown errors only where a line was found."""
    rule = table().get(failure.rule) if failure.rule else None
    if rule is None or (rule.id == "unknown" and not failure.line):
        return None
    repeats = rule.repeats or failure.exit == 2
    return Advice(rule.id, rule.meaning(failure.code), rule.do, rule.next, repeats=repeats)


@functools.cache
def advice_rows() -> tuple[Advice, ...]:
    """All rows of advice.yaml, in order."""
    rows = rows_in(Path(__file__).with_name("advice.yaml"))
    return TypeAdapter(tuple[Advice, ...]).validate_python(rows)
