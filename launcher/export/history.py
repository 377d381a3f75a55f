"""What trackers are to hold of a run, from its folder."""

from __future__ import annotations

from launcher.api import Run
from launcher.runs.folder import RunFolder
from launcher.tracking.history import METRICS, PROGRESS, History, make_history


def history_of(run: Run) -> History:
    """Reads the run's folder. Raises StoreError, NotFound."""
    view, folder = run.view(), RunFolder.of(run.entry)
    return make_history(folder.plan(), view, folder.json_lines(METRICS), lambda: folder.json_lines(PROGRESS))
