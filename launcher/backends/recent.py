"""A platform's last answer: whoever follows a run looks twice a second, and platforms count requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

from launcher.backends.base import Life


class Recent:
    """Remembers one answer, that to the question asked last."""

    def __init__(self) -> None:
        self._asked: tuple[Hashable, float] | None = None
        self._lives: list[Life] = []

    def get(self, question: Hashable, pause_s: float, ask: Callable[[], list[Life]]) -> list[Life]:
        """The answer, no older than `pause_s` seconds; `ask` gets a new one."""
        if not self._asked or self._asked[0] != question or time.monotonic() - self._asked[1] > pause_s:
            self._lives = ask()
            self._asked = question, time.monotonic()
        return self._lives

    def clear(self) -> None:
        """Something was done to a job: ask again."""
        self._asked = None
