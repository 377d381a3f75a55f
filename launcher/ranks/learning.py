"""Finds training that does not learn, from the progress events of one rank. Pure: reads no file and no clock."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from launcher.jsontext import is_number

BAD_STEPS = 3
"""So many reports in a row must be bad, unless nothing follows them: a loss scaler handles a single overflow."""
STUCK_SHARE = 0.01
CHANCE_TIMES = 3.0
"""An evaluation this many times better than guessing proves that the model learns."""
COLLAPSED_SCALE = 1.0
HEALTHY_SCALE = 1024.0


@dataclass
class LearningGuard:
    """Gets every event. `problem` is the first one found, for people; empty: none. With `classes` 0 no loss counts as guessing."""

    classes: int
    epochs: int
    problem: str = ""
    poisoned: bool = False
    """True when the parameters are useless, so that saving them would replace a good checkpoint by a bad one."""
    _not_finite: int = 0
    _newest_bad: str = ""
    """The newest loss and its place, when it is not finite."""
    _stuck: int = 0
    _learned: bool = False
    _top_scale: float = field(default=0.0)
    _collapsed: int = 0

    def feed(self, event: Mapping[str, Any]) -> str:
        """Look at one event; returns `problem`."""
        if self.problem:
            return self.problem
        kind = event.get("event")
        if kind == "step":
            self.problem = self._step(event)
        elif kind == "epoch":
            self.problem = self._epoch(event)
        elif kind == "eval" and self.classes:
            top1 = _number(event.get("top1"))
            self._learned = self._learned or (top1 is not None and top1 > CHANCE_TIMES / self.classes)
        return self.problem

    def end(self) -> str:
        """The program has ended well, so that no report follows the newest one; returns `problem`.

        With a loss scale the newest loss may be that of an update that was left out.
        """
        if not self.problem and self._newest_bad and self._top_scale <= COLLAPSED_SCALE:
            self.problem = self._diverged(f"{self._newest_bad}, and the program ended with it")
        return self.problem

    def _finite(self, event: Mapping[str, Any], place: str) -> str:
        """The problem, when the loss was not finite too often."""
        loss = _number(event.get("loss"))
        if loss is None:
            return ""
        if math.isfinite(loss):
            self._not_finite, self._newest_bad = 0, ""
            return ""
        where = f"{place} {event[place]}" if place in event else "its newest report"
        self._not_finite += 1
        self._newest_bad = f"the loss is {loss} at {where}"
        if self._not_finite < BAD_STEPS:
            return ""
        return self._diverged(f"the loss is {loss} since about {where}")

    def _diverged(self, words: str) -> str:
        self.poisoned = True
        return f"{words}; a lower learning rate or a longer warm-up may help"

    def _step(self, event: Mapping[str, Any]) -> str:
        if problem := self._finite(event, "step"):
            return problem
        scale = _number(event.get("loss_scale"))
        if scale is not None:
            self._top_scale = max(self._top_scale, scale)
            low = scale <= COLLAPSED_SCALE and self._top_scale >= HEALTHY_SCALE
            self._collapsed = self._collapsed + 1 if low else 0
            if self._collapsed >= BAD_STEPS:
                self.poisoned = True
                return f"the loss scale fell from {self._top_scale:g} to {scale:g} by step {event.get('step')}: every update overflows"
        return ""

    def _epoch(self, event: Mapping[str, Any]) -> str:
        if problem := "" if _is_of_lines(event) else self._finite(event, "epoch"):
            return problem
        loss = _number(event.get("loss"))
        if loss is None or self.classes < 2 or not self.epochs:
            return ""
        guess = math.log(self.classes)
        self._stuck = self._stuck + 1 if abs(loss - guess) <= STUCK_SHARE * guess else 0
        if self._stuck < self.epochs or self._learned:
            return ""
        return (
            f"the loss has stood at {loss:.4f} for {self._stuck} epochs, which is ln({self.classes}) = {guess:.4f}: "
            "the model guesses; look at the learning rate, the labels and the images"
        )


def _is_of_lines(event: Mapping[str, Any]) -> bool:
    """Whether the event was read from printed lines: at the end of an epoch it repeats the loss of the last step."""
    return "from" in event


def _number(value: Any) -> float | None:
    """A number of an event; `nan` and `inf` may come as text, since JSON has none."""
    if isinstance(value, str) and value.lower().lstrip("-") in ("nan", "inf", "infinity"):
        return float(value)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if is_number(value) or isinstance(value, float) else math.inf
