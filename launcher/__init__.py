"""Launch, supervise and collect vision-transformer training on Ascend NPUs, or on CPU for a rehearsal.

From Python: `submit`, `find`, `list_runs` and `sweep` give a `Run`, see `launcher.api`. Names are loaded when they are used,
so that `import launcher` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launcher.api import EpochMetrics as EpochMetrics
    from launcher.api import Run as Run
    from launcher.api import find as find
    from launcher.api import list_runs as list_runs
    from launcher.api import submit as submit
    from launcher.api import sweep as sweep
    from launcher.errors import LauncherError as LauncherError
    from launcher.runfolder.states import State as State
    from launcher.runs.view import RunView as RunView

__version__ = "0.1.0"
"""The version of the package. pyproject.toml and `launcher --version` read it here."""

_WHERE = {
    "EpochMetrics": "api",
    "LauncherError": "errors",
    "Run": "api",
    "RunView": "runs.view",
    "State": "runfolder.states",
    "find": "api",
    "list_runs": "api",
    "submit": "api",
    "sweep": "api",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'launcher' has no attribute '{name}'")
    return getattr(importlib.import_module(f"launcher.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*_WHERE, "__version__"])
