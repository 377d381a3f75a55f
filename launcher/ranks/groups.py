"""A process that leads a process group: starts it, sees its end, and sends signals to the group."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_IN_THIS_SESSION: dict[str, Any] = (
    {"process_group": 0} if sys.version_info >= (3, 11) else {"start_new_session": True}
)
"""Linux shares cores among sessions first (`sched_autogroup_enabled`), so the low priority of a thread that uploads counts only
beside ranks of its own session. Python 3.10 starts no process groups."""


def spawn(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, log: int, cores: Sequence[int], fds: Sequence[int]
) -> subprocess.Popen[bytes]:
    """Start a program on these cores, or on any; it dies with this process, and inherits `fds`. `log` takes what it prints."""
    names = ",".join(map(str, cores)) or "-"
    wrapper = [sys.executable, "-I", "-S", str(Path(__file__).with_name("_exec.py")), str(os.getpid()), names]
    return subprocess.Popen(
        [*wrapper, *argv],
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        pass_fds=fds,
        **_IN_THIS_SESSION,
    )


def has_ended(pid: int) -> bool:
    """True for a zombie of ours. It is not reaped here, so that its process group id can't be reused yet."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def signal_group(leader: int, number: signal.Signals) -> None:
    """Does nothing when the group is gone."""
    # macOS and hardened kernels answer PermissionError for a group that has only zombies
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)
