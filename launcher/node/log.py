"""The node program's own log: one file per attempt, in the folder of that attempt."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

CONSOLE = "LAUNCHER_CONSOLE"
"""Set by platforms that keep a container's output: the node program's log goes there, too."""
_FORMAT = "%(asctime)s %(levelname)s %(message)s"


class _LossyFileHandler(logging.FileHandler):
    """Opens its file with the first line, and drops lines that the disk does not take."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - a method of logging
        """Do nothing: the default prints a traceback, to a file on the same disk."""


def log_into(path: Path) -> None:
    """Write log lines to this file and to no other one from now on. A full disk is no error."""
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, logging.FileHandler)]:
        root.removeHandler(old)
        with suppress(OSError):  # lines that a full disk has not taken yet
            old.close()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    handler = _LossyFileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter(_FORMAT))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    if os.environ.get(CONSOLE):
        log_to_stderr()


def log_to_stderr() -> None:
    """Write log lines to stderr, too: a platform keeps the output of its containers."""
    root = logging.getLogger()
    if not any(type(each) is logging.StreamHandler for each in root.handlers):
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(_FORMAT))
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("botocore").setLevel(logging.WARNING)
