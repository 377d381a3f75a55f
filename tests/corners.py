"""The corners of the support matrix that this machine's Pythons allow: an environment for each, and `tests.matrix` in it.

    python -m tests.corners [CORNER...]

Environments are kept in .venv-matrix; each corner with MindSpore takes 3 GB of disk and some minutes. Ends with 1 when a part failed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".venv-matrix"
CONSTRAINTS = ROOT / "constraints"


def corners() -> list[str]:
    """Names of the corners, which are those of their files of constraints."""
    return sorted(path.stem for path in CONSTRAINTS.glob("python*.txt"))


def python_of(corner: str) -> str:
    """The interpreter of a corner; empty where this machine has none."""
    release = corner.removeprefix("python").partition("-")[0]
    for path in _candidates(release):
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip() == release:
            return path
    return ""


def _candidates(release: str) -> Iterator[str]:
    if found := shutil.which(f"python{release}"):
        yield found
    yield from map(str, sorted(Path.home().glob(f".pyenv/versions/{release}.*/bin/python")))


def environment(corner: str, python: str) -> Path:
    """The interpreter of the corner's environment, installed as the README says."""
    own, constraints = FOLDER / corner, CONSTRAINTS / f"{corner}.txt"
    done = own / ".installed"
    if not done.exists() or done.read_bytes() != constraints.read_bytes():
        extras = ".[train,digits]" if "mindspore" in corner else "."
        subprocess.run([python, "-m", "venv", "--clear", str(own)], check=True)
        pip = [str(own / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-c", str(constraints), extras], cwd=ROOT, check=True)
        done.write_bytes(constraints.read_bytes())
    return own / "bin" / "python"


def main(names: list[str]) -> int:
    failed = []
    for corner in names or corners():
        if not (python := python_of(corner)):
            print(f"{corner}: NOT TESTED, this machine has no such Python", flush=True)
            continue
        command = [str(environment(corner, python)), "-m", "tests.matrix"]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(corner)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
