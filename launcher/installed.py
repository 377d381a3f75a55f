"""What is installed on this machine: packages of Python, and programs."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess

TIMEOUT_S = 10.0


def version_of(package: str) -> str:
    """Empty when the package is not installed. Reads its metadata; never imports it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def program_output(*command: str) -> str:
    """The first line that a program prints; empty when it is not there, fails, or does not answer in time."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return (done.stdout.strip() or done.stderr.strip()).split("\n", 1)[0]
