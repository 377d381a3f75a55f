"""What ran: versions, code state, machine and the origin of every value, so that a result can be made again."""

from __future__ import annotations

import hashlib
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from launcher import __version__
from launcher.installed import version_of
from launcher.snapshot.select import is_secret
from vitmodels.secrets import mask

_MOST_DIFF, _MOST_NAMES = 1 << 20, 500
_PACKAGES = ("mindspore", "numpy", "pillow", "boto3", "pydantic")


def make_record(
    job_text: str, origins: Mapping[str, str], cwd: Path, snapshot: Collection[str] | None = None
) -> dict[str, Any]:
    """A JSON value; nothing of the environment but versions goes into it. `snapshot`: names of the files of `cwd` that the run has."""
    return {
        "submitted_at": time.time(),
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _packages(),
        "git": git_state(cwd, snapshot),
        "job_sha256": hashlib.sha256(job_text.encode()).hexdigest(),
        "origins": dict(origins),
        "command": ["launcher", *map(mask, sys.argv[1:])],
    }


def git_state(folder: Path, snapshot: Collection[str] | None = None) -> dict[str, Any] | None:
    """Commit, branch, and how tracked files differ from the commit; None outside a checkout or without git.

    `snapshot`: the names of which the difference is told; what is left out there, such as secrets, is left out here.
    """
    try:
        state = {
            "commit": _git(folder, "rev-parse", "HEAD").strip(),
            "branch": _git(folder, "rev-parse", "--abbrev-ref", "HEAD").strip(),
            "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no").strip()),
        }
        return state if snapshot is None else {**state, "diff": _diff(folder, snapshot)}
    except (OSError, subprocess.SubprocessError):
        return None


def _diff(folder: Path, snapshot: Collection[str]) -> str:
    """The difference of the snapshot's files to the commit, values that look like secrets starred out."""
    changed = _git(folder, "diff", "HEAD", "--name-only", "--relative", "-z").split("\0")
    names = [name for name in changed if name in snapshot or not (folder / name).exists()]
    names = [name for name in names if name and not is_secret(name)]
    if not names:
        return ""
    words = (
        "--literal-pathspecs",
        "diff",
        "HEAD",
        "--relative",
        "--no-color",
        "--no-ext-diff",
        "--no-textconv",
    )
    text = mask(_git(folder, *words, "--", *names[:_MOST_NAMES]))
    return (
        text if len(text) <= _MOST_DIFF else f"{text[:_MOST_DIFF]}\n… cut off after {_MOST_DIFF} characters\n"
    )


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, timeout=10, check=True)
    return done.stdout.decode(errors="replace")


def _packages() -> dict[str, str]:
    """Versions of launcher itself and of the installed packages that a result depends on."""
    installed = {name: version for name in _PACKAGES if (version := version_of(name))}
    return {"ascend-launcher": __version__, **installed}
