"""The trackers by name. Each is a module with `export`, and is loaded when it is asked for."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass

from launcher.errors import LauncherError, UsageError
from launcher.export.history import History

TRACKERS = {"csv": "", "mlflow": "mlflow", "tensorboard": "tensorboard"}
"""The package that each one needs, which is also the name of the extra."""
_MODULES = {"csv": "csvfile"}


@dataclass(frozen=True, slots=True)
class Tracker:
    """One tracker whose package is installed."""

    name: str

    def export(self, history: History, to: str | None) -> str:
        """Write the history; what was written, for people. Safe to repeat. Raises LauncherError."""
        module = importlib.import_module(f"launcher.export.{_MODULES.get(self.name, self.name)}")
        try:
            return str(module.export(history, module.DEFAULT if to is None else to))
        except LauncherError:
            raise
        except OSError as error:
            raise UsageError(
                f"can't write there: {error.strerror or error}", where=str(to or module.DEFAULT)
            ) from error
        except (
            Exception
        ) as error:  # of the tracker's own library: a server that refuses, an address that is none
            first = str(error).split("\n", 1)[0]
            raise UsageError(
                f"{self.name} refused: {type(error).__name__}: {first}", where=to or "", hint="check --out"
            ) from error


def tracker(name: str) -> Tracker:
    """Raises UsageError with the line to type when its package is not installed."""
    package = TRACKERS[name]
    if package and importlib.util.find_spec(package) is None:
        raise UsageError(f"{package} is not installed here", hint=f"pip install 'ascend-launcher[{name}]'")
    return Tracker(name)
