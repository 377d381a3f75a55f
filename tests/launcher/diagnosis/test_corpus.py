"""The verdict on a corpus of logs in the shapes of real ones: the right rank, rule and code."""

from typing import Any

import pytest

from launcher.diagnosis.verdict import find_first
from tests.launcher.diagnosis.corpus_logs import corpus_rows, ended


def cases() -> list[Any]:
    return [pytest.param(row, id=row["name"]) for row in corpus_rows()]


@pytest.mark.parametrize("row", cases())
def test_the_right_rank_and_rule(row: dict[str, Any]) -> None:
    answer = row["answer"]
    found = find_first(ended(row))
    assert (found.process.rank, found.rule.id) == (answer["rank"], answer["rule"])
    assert found.code == answer.get("code", found.code)
    assert found.repeats == answer.get("repeats", found.repeats)
    assert found.line.strip() == answer.get("line", found.line).strip()


def test_the_corpus_is_large_enough() -> None:
    rows = [case.values[0] for case in cases()]
    assert len(rows) >= 120
    assert sum(len(row["ranks"]) > 1 for row in rows) >= 25  # type: ignore[index,arg-type]
