"""Moments that hold when somebody sets the clock of the machine."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Begin:
    """When something began in this process, by both clocks."""

    wall: float = field(default_factory=time.time)
    monotonic: float = field(default_factory=time.monotonic)

    def oldest_file(self) -> float:
        """Unix seconds: a file that was written since has no earlier time, also when the clock was set back or forth meanwhile."""
        return min(self.wall, time.time() - (time.monotonic() - self.monotonic))
