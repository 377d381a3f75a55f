"""A cache of a platform's last answer. A command that follows a run polls twice a second; platforms limit requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

from launcher.backends.base import Life


class Recent:
    """Holds the answer to the last question."""

    def __init__(self) -> None:
        self._asked: tuple[Hashable, float] | None = None
        self._lives: list[Life] = []

    def get(self, question: Hashable, pause_s: float, ask: Callable[[], list[Life]]) -> list[Life]:
        """The answer to `question`. One that is older than `pause_s` is fetched anew with `ask`."""
        if not self._asked or self._asked[0] != question or time.monotonic() - self._asked[1] > pause_s:
            self._lives = ask()
            self._asked = question, time.monotonic()
        return self._lives

    def clear(self) -> None:
        """Drop the answer; called after a job was changed."""
        self._asked = None
