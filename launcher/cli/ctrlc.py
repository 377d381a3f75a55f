"""Ctrl-C for commands that wait: it is remembered, since Python drops a KeyboardInterrupt that it raises in a finaliser."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class CtrlC:
    """While it is entered, Ctrl-C raises KeyboardInterrupt at once as ever, and again at the next `check`."""

    def __init__(self) -> None:
        self._typed = self._installed = False

    def __enter__(self) -> CtrlC:
        mine = threading.current_thread() is threading.main_thread()
        if (
            mine and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):  # else it is ignored, or somebody else's
            signal.signal(signal.SIGINT, self._note)
            self._installed = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def check(self) -> None:
        """Raises KeyboardInterrupt when Ctrl-C was typed."""
        if self._typed:
            raise KeyboardInterrupt

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._typed = True
        raise KeyboardInterrupt
