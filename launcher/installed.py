"""What is installed on this machine: packages of Python, and programs."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True, slots=True)
class Imports:
    """What a Python can't import, each with the error; `problem` when that Python gave no answer at all."""

    failed: Mapping[str, str]
    problem: str = ""


def try_imports(
    python: str,
    packages: Sequence[str],
    *,
    folder: Path,
    env: Mapping[str, str] | None = None,
    load: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> Imports:
    """Ask a Python, in a process of its own, for packages; those in `folder` are found, too. Blocks.

    `load` imports them, which takes seconds for a framework; else they are only looked for.
    """
    words = [python, "-c", _TRY_IMPORTS, "load" if load else "find", *packages]
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env=env,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Imports({}, f"no answer within {timeout_s:g} s")
    except OSError as error:
        return Imports({}, error.strerror or str(error))
    for line in reversed(done.stdout.decode(errors="replace").splitlines()):
        if line.startswith(_ANSWER):
            return Imports(json.loads(line.removeprefix(_ANSWER)))
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return Imports({}, f"exit code {done.returncode}{f', {lines[-1]}' if lines else ''}")


_ANSWER = "failed imports: "
_TRY_IMPORTS = f"""
import importlib, importlib.util, json, sys
failed = {{}}
for name in sys.argv[2:]:
    try:
        if sys.argv[1] == "load":
            importlib.import_module(name)
        elif getattr(importlib.util.find_spec(name), "origin", None) is None:
            failed[name] = "not installed"  # a failed installation may leave an empty folder
    except ModuleNotFoundError as error:
        failed[name] = "not installed" if error.name == name else str(error)
    except BaseException as error:
        failed[name] = f"{{type(error).__name__}}: {{error}}"
print("\\n{_ANSWER}" + json.dumps(failed), flush=True)
"""
