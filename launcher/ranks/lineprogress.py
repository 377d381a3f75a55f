"""From the lines of one rank to events of progress. Pure: reads no clock and no file."""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from launcher.jobfile.spec_progress import ProgressSpec
from launcher.ranks.progresspatterns import read_line
from launcher.ranks.sighting import MOST, Sighting, number, whole

SOURCE, PLAIN = "lines", "plain lines"
"""The values of `from` in events that were read from lines, not written by the program; those of plain loops are guesses."""
RATE_EVENTS = 32
"""The remaining time follows from so many of the newest steps."""


@dataclass
class LineProgress:
    """Follows one rank. Where lines count the steps of an epoch, and its length is known, steps of the whole training come out."""

    spec: ProgressSpec
    _own: dict[str, re.Pattern[str]] = field(default_factory=dict)
    _state: dict[str, Any] = field(default_factory=dict)
    _last: tuple[Any, ...] = ()
    _source: str = SOURCE
    _from_zero: bool = False
    _counts_through: bool | None = None
    """Whether steps beside an epoch are counted through all epochs; None until the second epoch shows it."""
    _per_epoch: int = 0
    _furthest: int = 0
    _bar: int = 0
    _times: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=RATE_EVENTS))

    def __post_init__(self) -> None:
        patterns = {name: getattr(self.spec, name) for name in ("step", "epoch", "loss")}
        self._own = {name: re.compile(pattern) for name, pattern in patterns.items() if pattern}

    def feed(self, line: str, now: float) -> dict[str, Any] | None:
        """The event that a line makes, at `now` in unix seconds; None for a line that tells nothing new."""
        seen = self._read_own(line) if self._own else read_line(line)
        if seen is None or (seen.bar and self._is_side_bar(seen)):
            return None
        if seen.ends_epoch:
            return self._end_epoch(seen, now)
        reported = (seen.step, seen.epoch, seen.loss)
        if seen.step is not None and reported == self._last:
            return None  # a bar is drawn again while nothing moves
        self._last, self._source = reported, PLAIN if seen.plain else SOURCE
        self._take_epoch(seen)
        self._take_step(seen, now)
        for key, text in (("loss", seen.loss), ("lr", seen.lr), ("loss_scale", seen.loss_scale)):
            if (value := number(text)) is not None:
                self._state[key] = value if math.isfinite(value) else str(value)
        return self._event("step", now)

    def _read_own(self, line: str) -> Sighting | None:
        found = {name: match for name, pattern in self._own.items() if (match := pattern.search(line))}
        if not found:
            return None
        step, epoch, loss = (found.get(name) for name in ("step", "epoch", "loss"))
        return Sighting(
            step=whole(step[1]) if step else None,
            steps=_second(step),
            epoch=number(epoch[1]) if epoch else None,
            epochs=_second(epoch),
            loss=loss[1] if loss else None,
        )

    def _is_side_bar(self, seen: Sighting) -> bool:
        """Whether a bar without an epoch is a shorter one beside the main one, such as that of an evaluation."""
        if seen.in_epoch or seen.steps is None:
            return self._bar > 0 and not seen.in_epoch
        if seen.steps < self._bar:
            return True
        self._bar = seen.steps
        return False

    def _take_epoch(self, seen: Sighting) -> None:
        if seen.epoch is None or not 0 <= seen.epoch < MOST:
            return
        self._from_zero = self._from_zero or (seen.epoch == 0 and isinstance(seen.epoch, int))
        epoch = seen.epoch + 1 if self._from_zero else max(1, math.ceil(seen.epoch))
        if epoch != self._state.get("epoch"):
            if (
                seen.counts_either
                and self._furthest
                and self._counts_through is None
                and seen.step is not None
            ):
                self._counts_through = seen.step > self._furthest
            self._per_epoch = self._per_epoch or self._furthest
        self._state["epoch"] = int(epoch)
        if epochs := self.spec.total_epochs or seen.epochs:
            self._state["epochs"] = epochs

    def _take_step(self, seen: Sighting, now: float) -> None:
        if seen.step is None or seen.step > MOST:
            return
        step, steps = seen.step, seen.steps
        if seen.in_epoch and not self._counts_through:
            self._furthest = max(self._furthest, step)
            self._per_epoch = max(steps or self._per_epoch, step if self._per_epoch else 0)
            step += (self._state.get("epoch", 1) - 1) * self._per_epoch
            steps = None
        self._state["step"] = step
        self._set_steps(steps)
        if self._times and step < self._times[-1][1]:
            self._times.clear()  # it begins again
        if not self._times or step > self._times[-1][1]:
            self._times.append((now, step))
        self._set_eta(step)

    def _set_steps(self, reported: int | None) -> None:
        epochs = self._state.get("epochs") or self.spec.total_epochs
        of_epochs = epochs * self._per_epoch if epochs and self._per_epoch else None
        if steps := self.spec.total_steps or reported or of_epochs:
            self._state["steps"] = steps

    def _set_eta(self, step: int) -> None:
        (begun, first), (now, last) = self._times[0], self._times[-1]
        self._state.pop("eta_s", None)
        if (steps := self._state.get("steps")) and now > begun and last > first:
            self._state["eta_s"] = round(max(0, steps - step) * (now - begun) / (last - first), 1)

    def _end_epoch(self, seen: Sighting, now: float) -> dict[str, Any]:
        """A line at the end of an epoch, which shows how many steps it had, at most a rounding away."""
        length = max(seen.steps or 0, self._furthest)
        epoch = self._state.get("epoch", 0) or 1
        if not self._per_epoch and length:
            self._per_epoch = length
            self._set_steps(None)
        if "step" not in self._state and length:
            self._state["step"] = length
        self._state["epoch"] = epoch
        return self._event("epoch", now)

    def _event(self, kind: str, now: float) -> dict[str, Any]:
        for key in ("epochs", "steps"):
            if (value := getattr(self.spec, f"total_{key}")) is not None:
                self._state[key] = value
        return {"t": round(now, 3), "event": kind, "from": self._source, **self._state}


def _second(match: re.Match[str] | None) -> int | None:
    return whole(match[2]) if match and match.re.groups > 1 else None
