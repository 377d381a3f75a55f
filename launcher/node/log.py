"""The node program's own log: one file per attempt, in the folder of that attempt."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

CONSOLE = "LAUNCHER_CONSOLE"
"""Set by platforms that keep a container's output: the node program's log goes there, too."""
_FORMAT = "%(asctime)s %(levelname)s %(message)s"


class _Patient(logging.FileHandler):
    """Opens its file with the first line, and loses lines that the disk does not take."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - a method of logging
        """Nothing: the default prints a traceback, to a file on the same disk."""


def log_into(path: Path) -> None:
    """From now on log lines go into this file, and into no other one. A disk that takes nothing is no error."""
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, logging.FileHandler)]:
        root.removeHandler(old)
        with suppress(OSError):  # lines that a full disk has not taken yet
            old.close()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    handler = _Patient(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter(_FORMAT))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    if os.environ.get(CONSOLE):
        log_to_stderr()


def log_to_stderr() -> None:
    """Log lines go to stderr, too: a platform keeps what its containers print."""
    root = logging.getLogger()
    if not any(type(each) is logging.StreamHandler for each in root.handlers):
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(_FORMAT))
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("botocore").setLevel(logging.WARNING)
