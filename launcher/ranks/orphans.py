"""Kills orphans: every process of a gang carries a mark in its environment, and `sweep` kills all with a mark.

A rank is tied to the node program by a parent-death signal, but its own children (data workers, compilers) are not, and
some of them lead a session of their own. So one small keeper process per gang holds the reading end of a pipe whose
writing end only the node program has. When the node program ends, in whatever way, the keeper kills all processes
with the mark. The keeper is this file run as a script, so it imports nothing but the standard library.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

MARK = "LAUNCHER_GANG"
_PATIENCE_S = 20.0


def gang_mark(run_id: str, node: int, attempt: int) -> str:
    """The value of `LAUNCHER_GANG`; it begins with `node_mark`, which all gangs of a node of a run share."""
    return f"{node_mark(run_id, node)}{attempt}:{os.getpid()}"


def node_mark(run_id: str, node: int) -> str:
    """What the marks of all attempts of one node begin with."""
    return f"{run_id}:{node}:"


def marked(prefix: str, proc: Path = Path("/proc")) -> list[int]:
    """Processes whose mark begins with `prefix`, except this one. Those of other users can't be read."""
    mark = f"{MARK}={prefix}".encode()
    pids = []
    for name in os.listdir(proc):  # noqa: PTH208 - names only, and this runs while many processes come and go
        if not name.isdecimal() or int(name) == os.getpid():
            continue
        with suppress(OSError):
            environment = (proc / name / "environ").read_bytes()
            if environment.startswith(mark) or b"\0" + mark in environment:
                pids.append(int(name))
    return pids


def sweep(prefix: str, timeout_s: float = _PATIENCE_S) -> list[int]:
    """SIGKILL for everything with this mark, again until nothing is left. Returns the pids that had to be killed."""
    deadline = time.monotonic() + timeout_s
    killed: list[int] = []
    while (pids := marked(prefix)) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed += [pid for pid in pids if pid not in killed]
        time.sleep(0.02)
    return killed


class Keeper:
    """The keeper process of one gang. Used by the node program."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._popen: subprocess.Popen[bytes] | None = None
        self._writing = -1

    def ensure(self) -> None:
        """Start the keeper, again if it was killed."""
        if self._popen is not None and self._popen.poll() is None:
            return
        self._close()
        reading, self._writing = os.pipe()
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, str(reading), self._mark],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},
                start_new_session=True,
                pass_fds=(reading,),
            )
        finally:
            os.close(reading)

    @property
    def pid(self) -> int | None:
        """The process id of the keeper, while it runs."""
        return self._popen.pid if self._popen else None

    def dismiss(self) -> None:
        """The gang has ended: the keeper sweeps once more and exits. Blocks until then."""
        self._close()
        if self._popen is not None:
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(_PATIENCE_S)
            if self._popen.poll() is None:
                self._popen.kill()
                self._popen.wait()
            self._popen = None

    def _close(self) -> None:
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1


def main() -> None:
    """The keeper: wait until the other end is closed, then sweep."""
    # These signals are for the node program, whose end closes the pipe.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(int(sys.argv[1]), 1):
        pass
    sweep(sys.argv[2])


if __name__ == "__main__":
    main()
