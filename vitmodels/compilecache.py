"""Makes MindSpore's compile cache safe to use.

The cache of MindSpore 2.10 numbers the graphs of a process and looks at the sources of the starting script
only: another batch size, another image size or another program can be handed a graph that isn't its own, and
computes nonsense without a word. So each combination of what a graph depends on gets a folder of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ENABLE = "MS_COMPILER_CACHE_ENABLE"
PATH = "MS_COMPILER_CACHE_PATH"


def cache_key(program: str, settings: Mapping[str, Any], package: Path | None = None) -> str:
    """A short name for everything a graph depends on: program, settings, our sources, MindSpore's version.

    `settings` are plain values: the recipe, the number of ranks, the device. `package` is the folder of sources.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps([program, _mindspore_version(), dict(settings)], sort_keys=True).encode())
    package = package or Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _mindspore_version() -> str:
    for name in ("mindspore", "mindspore-ascend"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"


def separate_cache(program: str, settings: Mapping[str, Any]) -> Path | None:
    """Point the compile cache, if the user has turned it on, to the folder of this program and these settings.

    Call it before the first graph is compiled. Returns the folder; None when the cache is off.
    """
    if os.environ.get(ENABLE) != "1":
        return None
    root = Path(os.environ.get(PATH) or "compile-cache").resolve()
    folder = root / cache_key(program, settings)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ[PATH] = str(folder)
    return folder
