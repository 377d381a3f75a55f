"""The console logs of the fake ModelArts, as its documentation describes them, in either reading of `order`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.modelarts_wire import bad

FIRST_ID, STEP = 1551252759254000002, 3
"""Ids of lines look like times and leave gaps, as in the documented example."""


@dataclass
class LogBook:
    """How the service answers, and the lines themselves where a test gives them.

    `reading`: v2 (`asc`: from old to new) or v1 (`asc`: the previous lines). `repeats_base`: the base line itself is in the answer.
    `backwards`: a question for older lines is answered with the newest of them first. `removed`: so many of the oldest
    lines are not kept any more. `began`: so many lines were printed before the log began anew. `most`: lines of an answer.
    """

    reading: str = "v2"
    repeats_base: bool = False
    backwards: bool = False
    removed: int = 0
    shift: int = 0
    most: int = 500
    given: dict[str, list[str]] = field(default_factory=dict)

    def answer(self, task: str, query: dict[str, str], printed: Callable[[], list[str]]) -> dict[str, Any]:
        count = int(query.get("lines", "50"))
        if not 1 <= count <= 500:
            raise bad("2788", "invalid parameter: lines")
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise bad("2788", "invalid parameter: order")
        texts = (self.given[task] if task in self.given else printed())[self.removed :]
        numbers = self._range(len(texts), min(count, self.most), query.get("base_line", ""), order)
        shown = [(self._id(n + self.removed), texts[n]) for n in numbers]
        if not shown:
            return {"start_line": "", "end_line": query.get("base_line", ""), "lines": 0, "content": ""}
        content = [text for _, text in shown]
        older = order == ("desc" if self.reading == "v2" else "asc")
        if self.backwards and older and query.get("base_line"):
            content.reverse()
        return {
            "start_line": str(shown[0][0]),
            "end_line": str(shown[-1][0]),
            "lines": len(shown),
            "content": "\n".join(content) + "\n",
        }

    def _id(self, number: int) -> int:
        return FIRST_ID + self.shift + STEP * number

    def _range(self, have: int, count: int, base: str, order: str) -> range:
        """Which of the lines that are kept are in the answer."""
        if not base:
            return range(max(0, have - count), have)
        steps, between = divmod(int(base) - self._id(self.removed), STEP)  # of the base line
        same = 0 if self.repeats_base and not between else 1
        if (order == "asc") == (self.reading == "v2"):
            begin = max(0, steps + same)
            return range(begin, min(have, begin + count))
        end = min(have, max(0, steps + (1 - same) + (1 if between else 0)))
        return range(max(0, end - count), end)
