"""Starting and stopping the processes of a server that a test needs."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.waiting import PATIENCE_S


class Unavailable(Exception):
    """The server can't run here; tests that need it are skipped with this reason."""


def program(name: str) -> str:
    """Path of a program, preferring the one of this virtual environment."""
    here = Path(sys.executable).parent / name
    found = str(here) if here.exists() else shutil.which(name)
    if not found:
        raise Unavailable(f"{name} is not installed")
    return found


def dying_with_us(command: list[str]) -> list[str]:
    """The command, so that the kernel ends it when a killed test session can't."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *command] if setpriv else command


@contextmanager
def running(
    command: list[str], log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A background process whose output goes to `log`; it is gone when the block ends."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            dying_with_us(command),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=env,
        )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(3)
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_until(ready: Callable[[], bool], what: str, log: Path, timeout_s: float = PATIENCE_S) -> None:
    """Poll until `ready`. Raises Unavailable with the end of the log."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() >= deadline:
            break
        time.sleep(0.05)
    else:
        return
    tail = log.read_text(errors="replace")[-800:] if log.exists() else ""
    raise Unavailable(f"{what} did not start within {timeout_s:.0f} s: {tail}")


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """True when something listens on the port."""
    with suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False
