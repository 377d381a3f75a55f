"""Makes MindSpore's compile cache safe to use.

The cache of MindSpore 2.10 numbers the graphs of a process and looks at the sources of the starting script
only: another batch size, another image size or another program can be handed a graph that isn't its own, and
computes nonsense without a word. So each combination of what a graph depends on gets a folder of its own, which
one process uses at a time. What a process that was killed was writing is not used: `seal` notes the files that
are complete with their digests, and a folder that holds anything else is emptied.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

ENABLE = "MS_COMPILER_CACHE_ENABLE"
PATH = "MS_COMPILER_CACHE_PATH"
SEAL = "seal.json"
GRAPHS = "graphs"
SOURCES = (".py", ".cpp", ".h")
_locks: list[IO[bytes]] = []  # held until the process ends


def cache_key(program: str, settings: Mapping[str, Any], package: Path | None = None) -> str:
    """A short name for everything a graph depends on: program, settings, our sources, versions, processor family.

    `settings` are plain values: the recipe, the number of ranks, the device. `package` is the folder of sources.
    """
    digest = hashlib.sha256()
    about = [program, _version("mindspore", "mindspore-ascend"), _version("numpy"), platform.python_version()]
    digest.update(json.dumps([*about, platform.machine(), dict(settings)], sort_keys=True).encode())
    package = package or Path(__file__).parents[1]
    for path in sorted(path for path in package.rglob("*") if path.suffix in SOURCES):
        digest.update(f"{path.relative_to(package)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _version(*names: str) -> str:
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"


def separate_cache(program: str, settings: Mapping[str, Any]) -> Path | None:
    """Point the compile cache, if the user has turned it on, to the folder of this program and these settings.

    Call it before the first graph is compiled, and `seal` with the result after each first use of a graph.
    None when the cache is off; it is turned off, too, while another process works in that folder.
    """
    if os.environ.get(ENABLE) != "1":
        return None
    from vitmodels.device.compat import kernels_digest

    settings = {**settings, "kernels": kernels_digest()}
    root = Path(os.environ.get(PATH) or "compile-cache").resolve()
    folder = root / cache_key(program, settings)
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / "lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        os.environ[ENABLE] = "0"
        return None
    _locks.append(lock)
    if not _is_sealed(folder):
        shutil.rmtree(folder / GRAPHS, ignore_errors=True)
    (folder / GRAPHS).mkdir(exist_ok=True)
    os.environ[PATH] = str(folder / GRAPHS)
    return folder


def seal(folder: Path | None) -> None:
    """Note that every graph in the cache is complete. Does nothing without a folder."""
    if folder is None:
        return
    new = folder / f".{SEAL}"
    new.write_text(json.dumps(_digests(folder)))
    new.replace(folder / SEAL)


def _is_sealed(folder: Path) -> bool:
    """Whether the graphs are exactly those of the last seal."""
    try:
        return bool(json.loads((folder / SEAL).read_text()) == _digests(folder))
    except (OSError, ValueError):
        return False


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of the cache by its path."""
    found = {}
    for path in sorted((folder / GRAPHS).rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                found[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
