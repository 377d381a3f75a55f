"""What ran: versions, code state, machine and the origin of every value, so that a result can be made again."""

from __future__ import annotations

import hashlib
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher import __version__
from launcher.installed import version_of
from vitmodels.secrets import mask

_PACKAGES = ("mindspore", "numpy", "pillow", "boto3", "pydantic")


def make_record(job_text: str, origins: Mapping[str, str], cwd: Path) -> dict[str, Any]:
    """A JSON value; nothing of the environment but versions goes into it."""
    return {
        "submitted_at": time.time(),
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _packages(),
        "git": git_state(cwd),
        "job_sha256": hashlib.sha256(job_text.encode()).hexdigest(),
        "origins": dict(origins),
        "command": ["launcher", *map(mask, sys.argv[1:])],
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit and whether files differ from it; None outside a checkout or without git."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def _packages() -> dict[str, str]:
    """Versions of launcher itself and of the installed packages that a result depends on."""
    installed = {name: version for name in _PACKAGES if (version := version_of(name))}
    return {"ascend-launcher": __version__, **installed}
