"""The node program's own log: one file per attempt, in the folder of that attempt."""

from __future__ import annotations

import logging
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)s %(message)s"


def log_into(path: Path) -> None:
    """From now on log lines go into this file, and into no other one. A disk that takes nothing is no error."""
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, logging.FileHandler)]:
        root.removeHandler(old)
        old.close()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    except OSError:
        return
    handler.setFormatter(logging.Formatter(_FORMAT))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("botocore").setLevel(logging.WARNING)
