"""Make ready on this machine what ranks need when they start, while its data set is still being staged.

    python -m vitmodels.warmup --device cpu

MindSpore's libraries are read ahead into memory, and for the CPU the operators are compiled. Ranks that start meanwhile wait
for the compiler, not compile once more. Nothing is printed; without MindSpore or a compiler the ranks say what is wrong.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from vitmodels.device.kernels.library import library

LARGE_BYTES = 1 << 20
"""Smaller files are read quickly enough when they are needed."""


def read_ahead(folder: Path) -> int:
    """Ask the system to read all large libraries under `folder` into memory; returns how many. Does not wait for the disk."""
    if not hasattr(os, "posix_fadvise"):  # macOS
        return 0
    count = 0
    for path in _libraries(folder):
        try:
            file = os.open(path, os.O_RDONLY)
        except OSError:  # removed, or for others only
            continue
        try:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_WILLNEED)
            count += 1
        finally:
            os.close(file)
    return count


def _libraries(folder: Path) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        for name in names:
            path = f"{place}/{name}"
            if ".so" in name and os.path.isfile(path) and os.path.getsize(path) >= LARGE_BYTES:  # noqa: PTH113, PTH202
                yield path


def package_folder(name: str) -> Path | None:
    """Where a package is installed, without importing it; None where it is not."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code, which is 0 whatever was found."""
    parser = argparse.ArgumentParser(
        prog="python -m vitmodels.warmup", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--device", choices=("cpu", "ascend"), default="cpu", help="what ranks will compute on"
    )
    args = parser.parse_args(argv)
    if folder := package_folder("mindspore"):
        read_ahead(folder)
    if args.device == "cpu":
        library()
    return 0


if __name__ == "__main__":
    sys.exit(main())
