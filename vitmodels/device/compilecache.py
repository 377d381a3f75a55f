"""Makes MindSpore's compile cache safe to use.

MindSpore 2.10 numbers the graphs of a process and compares only the source of the starting script. A run with another
batch size, image size or program can get a graph of an earlier run, and computes wrong numbers without an error. So
each combination of settings that a graph depends on has a folder of its own, which one process uses at a time. `seal`
writes down the digests of the complete files; a folder with other files, from a process that was killed while it
wrote, is emptied.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from vitmodels.device.kernels.library import Unavailable, private, user_cache
from vitmodels.digest import file_sha256

ENABLE = "MS_COMPILER_CACHE_ENABLE"
PATH = "MS_COMPILER_CACHE_PATH"
SEAL = "seal.json"
GRAPHS = "graphs"
LOCK = "lock"
UNUSED_S = 30 * 24 * 3600.0
"""Graphs in the user's own folder that nobody has used for so long are removed."""
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
    """Point the compile cache, if it is turned on, to the folder of this program and these settings.

    Call it before the first graph is compiled, and `seal` with the result after each first use of a graph.
    Returns None when the cache is off. It is also turned off while another process uses that folder, and where nobody
    has named a folder and the user's own one can't be used.
    """
    if os.environ.get(ENABLE) != "1":
        return None
    from vitmodels.device.compat import kernels_file

    settings = {**settings, "kernels": kernels_file()}  # graphs name the file, with its folder
    named = os.environ.get(PATH)
    try:
        root = Path(named).resolve() if named else private(user_cache("graphs"))
        if not named:
            drop_unused(root)
        folder = _locked_folder(root / cache_key(program, settings))
    except (OSError, Unavailable):
        if named:
            raise
        folder = None
    if folder is None:
        os.environ[ENABLE] = "0"
        return None
    os.environ[PATH] = str(folder / GRAPHS)
    return folder


def _locked_folder(folder: Path) -> Path | None:
    """The folder, only for this process and with no graphs but complete ones; None when another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / LOCK).open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    _locks.append(lock)
    os.utime(folder / LOCK)
    if not _is_sealed(folder):
        shutil.rmtree(folder / GRAPHS, ignore_errors=True)
    (folder / GRAPHS).mkdir(exist_ok=True)
    return folder


def drop_unused(root: Path) -> None:
    """Remove the folders that no process has used for `UNUSED_S`. Safe beside processes that use others."""
    for path in root.glob(f"*/{LOCK}"):
        with suppress(OSError), path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - path.stat().st_mtime > UNUSED_S:
                shutil.rmtree(path.parent, ignore_errors=True)


def seal(folder: Path | None) -> None:
    """Write down the digest of every graph in the cache; all of them are complete now. Does nothing without a folder.

    Graphs that the disk does not take are no reason to end a training: without a seal the next process compiles anew.
    """
    if folder is None:
        return
    new = folder / f".{SEAL}"
    try:
        new.write_text(json.dumps(_digests(folder)))
        new.replace(folder / SEAL)
    except OSError:
        with suppress(OSError):
            new.unlink(missing_ok=True)


def _is_sealed(folder: Path) -> bool:
    """Whether the graphs are exactly those of the last seal."""
    try:
        return bool(json.loads((folder / SEAL).read_text()) == _digests(folder))
    except (OSError, ValueError):
        return False


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of the cache by its path."""
    digests = {}
    for path in sorted((folder / GRAPHS).rglob("*")):
        if path.is_file():
            digests[str(path.relative_to(folder))] = file_sha256(path)
    return digests
