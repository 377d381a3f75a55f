"""Read the progress files that ranks append to (one JSON object a line), a few new lines at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from launcher.jsontext import is_number, parse_json
from launcher.portable import open_plain


class Progress(BaseModel):
    """How far training is. Rates and the remaining time are those of the whole run, not of one rank."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    lr: float | None = None
    images_per_s: float | None = None
    eta_s: float | None = None
    loss_scale: float | None = None
    top1: float | None = None
    top5: float | None = None


_FIELDS = tuple(Progress.model_fields)
_WHOLE = ("epoch", "epochs", "step", "steps")


@dataclass
class ProgressReader:
    """Follows one progress file. An incomplete line is read at the next call; lines that are not JSON are counted."""

    path: Path
    phase: str = ""
    phase_since: float = 0.0
    stepped_since: float = 0.0
    """When the first step was reported; 0: none was."""
    last_error: str = ""
    bad_lines: int = 0
    _offset: int = 0
    _latest: dict[str, Any] = field(default_factory=dict)

    @property
    def progress(self) -> Progress:
        return Progress(**self._latest)

    @property
    def phase_seen(self) -> tuple[str, float]:
        """The phase that the program reported and since when; `training` for one that reports only steps; empty: neither."""
        if self.phase or not self.stepped_since:
            return self.phase, self.phase_since
        return "training", self.stepped_since

    def forget_phase(self) -> None:
        """What follows comes from another program or attempt."""
        self.phase = self.last_error = ""
        self.stepped_since = 0.0

    def skip(self) -> None:
        """Leave out what the file holds now."""
        try:
            self._offset = self.path.stat().st_size
        except OSError:
            self._offset = 0

    def update(self) -> list[dict[str, Any]]:
        """New events since the last call, oldest first."""
        try:
            with open_plain(self.path) as file:
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        events = [event for line in whole.splitlines() if (event := self._parse(line))]
        for event in events:
            self._take(event)
        return events

    def _parse(self, line: bytes) -> dict[str, Any] | None:
        try:
            event = parse_json(line)
        except ValueError:
            event = None
        if isinstance(event, dict):
            return event
        self.bad_lines += 1
        return None

    def _take(self, event: dict[str, Any]) -> None:
        kind = event.get("event")
        if kind == "phase":
            self.phase, self.phase_since = str(event.get("phase", "")), _number(event.get("t"))
        elif kind == "error":
            self.last_error = str(event.get("text", ""))
        if kind in ("step", "epoch"):
            self.stepped_since = self.stepped_since or _number(event.get("t")) or time.time()
        if kind in ("step", "epoch", "eval"):
            for key in _FIELDS:
                if key in event:
                    self._latest[key] = _value_of(key, event[key], self._latest.get(key))


def _value_of(key: str, value: Any, before: Any) -> Any:
    """A value of an event as the field has it: None for a number that is none, which may come as text; else `before`."""
    if isinstance(value, str) and value.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return None
    if not isinstance(value, int | float):
        return before
    if not is_number(value):
        return None
    return int(value) if key in _WHOLE else value


def _number(value: Any) -> float:
    return float(value) if is_number(value) else 0.0
