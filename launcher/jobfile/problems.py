"""The error that carries every problem of a job file."""

from __future__ import annotations

from collections.abc import Iterable

from launcher.errors import UsageError
from vitmodels.document.problem import Problem, in_order, listing_of


class JobFileError(UsageError):
    """The job file, its recipe, or what overrides them, is wrong.

    `problems` holds every problem that was found, at least one, in the order of their places.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = in_order(problems)
        first = self.problems[0]
        super().__init__(first.message, where=str(first.place), hint=first.hint)

    def __str__(self) -> str:
        return listing_of(self.problems)

    def to_json(self) -> dict[str, object]:
        return {"ok": False, "problems": [problem.to_json() for problem in self.problems]}
