"""Read the progress files that ranks append to (one JSON object a line), a few new lines at a time."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict


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


@dataclass
class ProgressReader:
    """Follows one progress file. An incomplete line is read at the next call; lines that are not JSON are counted."""

    path: Path
    phase: str = ""
    phase_since: float = 0.0
    last_error: str = ""
    bad_lines: int = 0
    _offset: int = 0
    _latest: dict[str, Any] = field(default_factory=dict)

    @property
    def progress(self) -> Progress:
        return Progress(**self._latest)

    def skip(self) -> None:
        """Leave out what the file holds now."""
        try:
            self._offset = self.path.stat().st_size
        except OSError:
            self._offset = 0

    def update(self) -> list[dict[str, Any]]:
        """New events since the last call, oldest first."""
        try:
            with self.path.open("rb") as file:
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
            event = json.loads(line)
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
        if kind in ("step", "epoch", "eval"):
            for key in _FIELDS:
                if isinstance(value := event.get(key), int | float):
                    self._latest[key] = value if math.isfinite(value) else None


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
