"""One training at a time in a run directory."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from vitmodels.errors import RunDirBusy

LOCK = ".train.lock"


class RunDirLock:
    """Held by the first rank of a training as long as its process lives."""

    def __init__(self, run_dir: Path) -> None:
        """Raises RunDirBusy when another training has it."""
        self._file: IO[bytes] = (run_dir / LOCK).open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise RunDirBusy(
                f"another training uses {run_dir}", hint="wait until it ends, or name another --run-dir"
            ) from error
        except OSError:
            pass  # a file system without locks

    def release(self) -> None:
        """Let another training use the directory."""
        self._file.close()
