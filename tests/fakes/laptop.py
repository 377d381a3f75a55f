"""A laptop that only submits: launcher's command line without what only Linux has.

    python -m tests.fakes.laptop COMMANDS.json

runs the commands (lists of words), one after the other, and prints a JSON list of [exit code, stdout, stderr]. Modules, calls and
files that macOS or Windows lack are hidden before launcher is imported. What no test here shows: Windows' own file system.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import io
import json
import os
import select
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

MODULES = {"fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "spwd", "crypt", "syslog", "prctl"}
CALLS = [
    "statvfs",
    "fstatvfs",
    "pwrite",
    "pread",
    "fchmod",
    "fchown",
    "chown",
    "lchown",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "killpg",
    "setsid",
    "getpgid",
    "posix_spawn",
    "posix_spawnp",
    "sched_getaffinity",
    "sched_setaffinity",
    "mkfifo",
    "mknod",
    "getloadavg",
    "sysconf",
    "O_DIRECTORY",
    "O_NOFOLLOW",
    "O_CLOEXEC",
    "O_NONBLOCK",
]


class Hidden(importlib.abc.MetaPathFinder):
    """Finds nothing, and says so for the hidden modules."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: object = None) -> None:
        if fullname in MODULES:
            raise ModuleNotFoundError(f"No module named '{fullname}' on a laptop", name=fullname)


def refuse_proc(event: str, arguments: tuple[object, ...]) -> None:
    """No file below /proc can be opened, and no folder listed."""
    if event in ("open", "os.listdir", "os.scandir") and str(arguments[0]).startswith("/proc"):
        raise FileNotFoundError(2, "No such file or directory on a laptop", str(arguments[0]))


def hide() -> None:
    """For the rest of this process."""
    measure, exists = os.statvfs, os.path.exists

    def disk_usage(folder: str | Path) -> SimpleNamespace:  # Python's own is another one on Windows
        disk = measure(folder)
        return SimpleNamespace(
            total=disk.f_blocks * disk.f_frsize, used=0, free=disk.f_bavail * disk.f_frsize
        )

    shutil.disk_usage = disk_usage  # type: ignore[assignment]
    os.path.exists = lambda path: not str(path).startswith("/proc") and exists(path)
    for name in MODULES:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, Hidden())
    for name in CALLS:
        delattr(os, name)
    del select.epoll
    sys.addaudithook(refuse_proc)


def run(words: list[str]) -> tuple[int, str, str]:
    from launcher.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as end:
            code = int(end.code or 0)
    return code, out.getvalue(), err.getvalue()


if __name__ == "__main__":
    hide()
    print(json.dumps([run(words) for words in json.loads(Path(sys.argv[1]).read_text())]))
