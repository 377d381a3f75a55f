"""Where tests keep their files: in memory, where that is possible.

Tests write and remove some hundred thousand small files. On a disk that takes longer than everything else that most of them do.
"""

import ctypes
import getpass
import os
import re
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

_NEW_MOUNTS = 0x00020000
"""CLONE_NEWNS of Linux."""
ROOM_BYTES = 8 << 30
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def in_memory() -> bool:
    """Mount a file system in memory on pytest's temporary folder, for this process and those that it starts. False where nothing changes.

    It needs root and goes with the last of these processes, so what a failed test has left can be looked at only after a run with
    `--basetemp DIR`.
    """
    if "PYTEST_XDIST_WORKER" in os.environ or os.geteuid() != 0 or _available_bytes() < ROOM_BYTES:
        return False
    if ctypes.CDLL(None).unshare(_NEW_MOUNTS) != 0:
        return False
    folder = Path(tempfile.gettempdir(), f"pytest-of-{getpass.getuser()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    private = ["mount", "--make-rprivate", "/"]
    mount = ["mount", "-t", "tmpfs", "-o", f"mode=700,size={ROOM_BYTES}", "tmpfs", str(folder)]
    try:
        mounted = all(
            not subprocess.run(each, check=False, capture_output=True).returncode for each in (private, mount)
        )
    except OSError:
        return False
    if mounted:  # pytest counts on from here: two runs at a time have no folder of one name
        (folder / f"pytest-{os.getpid()}").mkdir()
    return mounted


def _available_bytes() -> int:
    """What the machine has left, but no more than this process may use, where a container or a job limits it."""
    with suppress(OSError):
        if found := re.search(r"^MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(), re.M):
            return min(int(found[1]) << 10, *map(_limit_in, _LIMITS))
    return 0


def _limit_in(file: str) -> int:
    with suppress(OSError, ValueError):  # "max" is no number
        return int(Path(file).read_text())
    return sys.maxsize
