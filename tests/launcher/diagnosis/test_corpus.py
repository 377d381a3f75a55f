"""The verdict on a corpus of logs in the shapes of real ones: the right rank, rule and code."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.diagnosis.verdict import Ended, OtherLog, find_first

CORPUS = Path(__file__).with_name("corpus")


def cases() -> list[Any]:
    rows = [
        row
        for path in sorted(CORPUS.glob("*.yaml"))
        for row in yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    ]
    return [pytest.param(row, id=row["name"]) for row in rows]


def ended(row: dict[str, Any]) -> list[Ended]:
    return [
        Ended(
            name="scheduler" if rank["rank"] is None else f"rank {rank['rank']}",
            rank=rank["rank"],
            code=rank["exit"],
            at=rank["at"],
            log=rank["log"],
            asked=rank.get("asked", False),
            asked_at=rank.get("asked_at", 0.0),
            others=(OtherLog("plog", rank["plog"]),) if "plog" in rank else (),
        )
        for rank in row["ranks"]
    ]


@pytest.mark.parametrize("row", cases())
def test_the_right_rank_and_rule(row: dict[str, Any]) -> None:
    answer = row["answer"]
    found = find_first(ended(row))
    assert (found.process.rank, found.rule.id) == (answer["rank"], answer["rule"])
    assert found.code == answer.get("code", found.code)
    assert found.repeats == answer.get("repeats", found.repeats)


def test_the_corpus_is_large_enough() -> None:
    rows = [case.values[0] for case in cases()]
    assert len(rows) >= 120
    assert sum(len(row["ranks"]) > 1 for row in rows) >= 25  # type: ignore[index,arg-type]
