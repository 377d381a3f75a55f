"""Whether one kind of request works at present."""

from __future__ import annotations

import time

PAUSE_S = 30.0


class Health:
    """After `most` failures in a row such requests rest for PAUSE_S."""

    def __init__(self, most: int) -> None:
        self.failures = 0
        self.paused_until = 0.0
        self.most = most

    @property
    def good(self) -> bool:
        """Whether such requests should be made now."""
        return not self.paused_until or time.monotonic() >= self.paused_until

    def failed(self) -> None:
        """Count a failure."""
        self.failures += 1
        if self.failures >= self.most:
            self.failures, self.paused_until = 0, time.monotonic() + PAUSE_S
