"""The trackers by name. Each is a module with `export`, and is loaded when it is asked for."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from launcher.errors import LauncherError, UsageError
from launcher.jobfile.spec_track import TrackSpec
from launcher.runfolder.paths import TENSORBOARD, TRACKED_CSV
from launcher.tracking.history import History

TRACKERS = {"csv": "", "mlflow": "mlflow", "swanlab": "swanlab", "tensorboard": "tensorboard"}
"""The package that each one needs, which is also the name of the extra."""
_MODULES = {"csv": "csvfile"}


@dataclass(frozen=True, slots=True)
class Tracker:
    """One tracker whose package is installed."""

    name: str

    def export(self, histories: Sequence[History], to: str | None) -> list[str]:
        """Write the histories; what was written, for people. Safe to repeat. Raises LauncherError."""
        module = importlib.import_module(f"launcher.tracking.{_MODULES.get(self.name, self.name)}")
        try:
            where = module.DEFAULT if to is None else to
            if self.name == "csv":  # one file may hold several runs
                return list(module.export(histories, where))
            return [str(module.export(each, where)) for each in histories]
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


class LiveWriter(Protocol):
    """What keeps a tracker up to date while a run goes on."""

    def update(self, history: History) -> None:
        """Write what the tracker lacks; safe to repeat. Raises what the tracker's library raises."""


def mlflow_uri(spec: TrackSpec, env: Mapping[str, str]) -> str:
    """The tracking URI of a run's machine; empty where none is named."""
    return spec.mlflow_uri or env.get("MLFLOW_TRACKING_URI", "")


def check_usable(name: str, uri: str) -> None:
    """Raises UsageError when the package of a live tracker is not installed here, or its server is not named."""
    require_package(name)
    if name == "mlflow" and not uri:
        raise UsageError("no tracking server is named", hint="set track.mlflow_uri or MLFLOW_TRACKING_URI")


def live_writer(name: str, run_dir: Path, uri: str) -> LiveWriter:
    """Raises UsageError as `check_usable`. `uri` is that of MLflow."""
    check_usable(name, uri)
    if name == "tensorboard":
        from launcher.tracking.tensorboard import EventFile

        return EventFile(run_dir / TENSORBOARD)
    if name == "mlflow":
        from launcher.tracking.mlflow import MlflowRun

        return MlflowRun(uri)
    from launcher.tracking.csvfile import CsvFile

    return CsvFile(run_dir / TRACKED_CSV)


def require_package(name: str) -> None:
    """Raises UsageError with the line to type when the package of a tracker is not installed."""
    package = TRACKERS[name]
    if package and importlib.util.find_spec(package) is None:
        raise UsageError(f"{package} is not installed here", hint=f"pip install 'ascend-launcher[{name}]'")


def tracker(name: str) -> Tracker:
    """Raises UsageError with the line to type when its package is not installed."""
    require_package(name)
    return Tracker(name)
