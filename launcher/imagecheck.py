"""What an image lacks for launcher and training, with one line of pip. Needs this file and Python's own library.

    python imagecheck.py [--base]      # in a container; `launcher image-check` where launcher is installed

The boot programs of the platforms run it, too. Nothing is imported that it looks for: versions are read from the packages' records.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 8):  # noqa: UP036 - images of other times have it, and not all of the imports below
    sys.exit("Python {}.{} in this image; launcher needs 3.10 or newer".format(*sys.version_info))

import argparse
import re
import shutil
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import NamedTuple

OLDEST_PYTHON = (3, 10)


class Need(NamedTuple):
    """A package as pip names it, with its limits, and what is imported. `without`: what its absence costs; empty: it must be there."""

    requirement: str
    module: str
    without: str = ""


class Lack(NamedTuple):
    """A package that is not there, or in another version: `found` is empty when it is not."""

    need: Need
    found: str


BASE = (
    Need("pydantic>=2.10", "pydantic"),
    Need("pyyaml>=6", "yaml"),
    Need("boto3>=1.36", "boto3"),
    Need("obstore>=0.11", "obstore", "slower transfers"),
    Need("rich>=13", "rich", "progress as plain lines"),
)
"""Of launcher on every machine."""
TRAIN = (
    Need("mindspore>=2.7,<3", "mindspore"),
    Need("numpy>=1.25,<2", "numpy"),
    Need("pillow>=10", "PIL"),
    Need("safetensors>=0.4", "safetensors"),
    Need("onnx>=1.16", "onnx", "no export of ONNX"),
    Need("matplotlib>=3.8", "matplotlib", "no curves.png"),
    Need("simplejpeg>=1.8", "simplejpeg", "slower decoding"),
    Need("cykooz-resizer>=4", "cykooz_resizer", "slower resizing"),
)
"""Of the ranks of vitmodels, beside `BASE`. MindSpore itself needs safetensors."""
COMPILERS = ("c++", "g++", "clang++")
NO_COMPILER = "no C++ compiler: training on CPU takes twice as long; NPUs need none"
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*((?:(?:>=|==|<=|<|>)[0-9.]+,?\s*)*)\s*")
_LIMIT = re.compile(r"(>=|==|<=|<|>)([0-9.]+)")
_COMPARE: dict[str, Callable[[list[int], list[int]], bool]] = {
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "<=": lambda a, b: a <= b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
}


def lacks(needs: Iterable[Need]) -> list[Lack]:
    """Those that this Python does not have in a version that fits."""
    found = []
    for need in needs:
        here = _version(need.requirement) if _can_be_found(need.module) else ""
        if not here or not _fits(here, need.requirement):
            found.append(Lack(need, here))
    return found


def is_satisfied(requirement: str) -> bool:
    """Whether a line for pip asks for nothing that is not here. False for what only pip understands."""
    line = requirement.partition("#")[0].strip()
    if not line:
        return True
    here = _version(line) if _REQUIREMENT.fullmatch(line) else ""
    return bool(here) and _fits(here, line)


def pip_line(lacking: Iterable[Lack]) -> str:
    """What installs them; empty for none."""
    words = [f"'{lack.need.requirement}'" for lack in lacking]
    return f"{sys.executable} -m pip install {' '.join(words)}" if words else ""


def report(needs: Iterable[Need], *, compiler: bool = False) -> tuple[bool, list[str]]:
    """Whether everything that must be there is there; and lines for people."""
    lacking = lacks(needs)
    lines = []
    for need, found in lacking:
        state = f"is {found}" if found else "is not installed"
        cost = f"; without it: {need.without}" if need.without else ", and nothing runs without it"
        lines.append(f"{need.requirement} {state}{cost}")
    if compiler and not any(map(shutil.which, COMPILERS)):
        lines.append(NO_COMPILER)
    if lacking:
        lines.append(f"to install: {pip_line(lacking)}")
    return all(lack.need.without for lack in lacking), lines


def old_python() -> str:
    """What is wrong with this Python; empty for one that launcher runs on."""
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return ""
    needed = ".".join(map(str, OLDEST_PYTHON))
    return (
        f"Python {'.'.join(map(str, sys.version_info[:2]))} in this image; launcher needs {needed} or newer"
    )


def main(argv: list[str]) -> int:
    """Exit code 0 when everything that must be there is there, else 2."""
    parser = argparse.ArgumentParser(
        prog="imagecheck", description="What this image lacks for launcher and training."
    )
    parser.add_argument(
        "--base", action="store_true", help="only what launcher itself needs, for a program of your own"
    )
    parser.add_argument(
        "--requirements", action="store_true", help="print only what pip has to install, a line each"
    )
    args = parser.parse_args(argv)
    needs = BASE if args.base else (*BASE, *TRAIN)
    problem = old_python()
    if problem:
        sys.stdout.write(f"{problem}\n")
        return 2
    if args.requirements:
        sys.stdout.writelines(f"{lack.need.requirement}\n" for lack in lacks(needs))
        return 0
    good, lines = report(needs, compiler=not args.base)
    sys.stdout.write("\n".join(lines or ["nothing is lacking"]) + "\n")
    return 0 if good else 2


def _can_be_found(module: str) -> bool:
    """Whether there is code: a failed installation may leave an empty folder."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None


def _version(requirement: str) -> str:
    match = _REQUIREMENT.match(requirement)
    try:
        return version(match[1]) if match else ""
    except PackageNotFoundError:
        return ""


def _fits(here: str, requirement: str) -> bool:
    return all(_COMPARE[sign](*_padded(here, limit)) for sign, limit in _LIMIT.findall(requirement))


def _padded(here: str, limit: str) -> tuple[list[int], list[int]]:
    """Two releases as numbers of the same length: 2.10.0rc1 and 2.10 are [2, 10, 0] and [2, 10, 0]."""
    first, second = _numbers(here), _numbers(limit)
    length = max(len(first), len(second))
    return first + [0] * (length - len(first)), second + [0] * (length - len(second))


def _numbers(text: str) -> list[int]:
    match = re.match(r"[0-9]+(?:[.][0-9]+)*", text)
    return [int(number) for number in match[0].split(".")] if match else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
