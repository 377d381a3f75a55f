"""The corpus of logs with their answers, for its test and for `benchmarks/diagnosis.py`."""

from pathlib import Path
from typing import Any

import yaml

from launcher.diagnosis.verdict import Ended, OtherLog

CORPUS = Path(__file__).with_name("corpus")


def corpus_rows() -> list[dict[str, Any]]:
    """`name`, `ranks` and `answer` of each case."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [
        row for path in sorted(CORPUS.glob("*.yaml")) for row in yaml.load(path.read_text(), Loader=loader)
    ]


def ended(row: dict[str, Any]) -> list[Ended]:
    """The processes of a case, as a gang leaves them."""
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
