"""The error that carries every problem of a job file."""

from __future__ import annotations

from launcher.errors import UsageError
from launcher.jobfile.problems import JobFileError
from vitmodels.document.problem import Place, Problem


def test_an_error_holds_its_problems_in_the_order_of_the_text_once_each() -> None:
    problems = [Problem(Place("x.yaml", line, 1, "a"), "m", hint=f"h{line}") for line in (9, 2, 9)]
    error = JobFileError(problems)
    assert [problem.place.line for problem in error.problems] == [2, 9]
    assert isinstance(error, UsageError)
    assert (error.where, error.what, error.hint, error.exit_code) == ("x.yaml:2:1", "m", "h2", 2)
    assert str(error).endswith("\n2 problems")
    assert error.to_json() == {"ok": False, "problems": [problem.to_json() for problem in error.problems]}
