"""Curves, settings and results as a run of SwanLab that needs no account, by SwanLab's own library; `swanlab sync` sends it."""

from __future__ import annotations

import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from launcher.errors import UsageError
from launcher.runfolder.states import State
from launcher.tracking.history import History

DEFAULT = "swanlog"
MAX_NAME = 100
"""Of a project of SwanLab."""
_ENDS = {State.FAILED: "crashed", State.CANCELLED: "aborted"}
"""SwanLab has no folder of a run that goes on: that counts as a success, until the next export."""
_HINT = (
    "free some space; rename metrics that differ only by a space, / or . at their end: SwanLab cuts it off"
)


def export(history: History, to: str) -> str:
    """Write the folder `<to>/<run id>/run-<time>-<id>`. The folders of earlier exports are removed once the new one is whole.

    Its name and its place stay as SwanLab made them: its files hold both.
    """
    folder = Path(to) / history.run_id
    folder.mkdir(parents=True, exist_ok=True)
    old = [path.parent for path in folder.glob("run-*/run-*.swanlab")]
    with redirect_stdout(StringIO()):
        new = _write(history, folder.absolute())
    wanted, written = sum(len(points) for points in history.points().values()), _count_points(new)
    if written != wanted:
        shutil.rmtree(new, ignore_errors=True)
        raise UsageError(f"SwanLab wrote {written} of {wanted} points", where=str(folder), hint=_HINT)
    for each in old:
        shutil.rmtree(each, ignore_errors=True)
    return f"{new}; send it with: swanlab sync {new}"


def _write(history: History, folder: Path) -> Path:
    """The new folder. Nothing of this machine goes into it: the run was elsewhere."""
    import swanlab

    settings = swanlab.Settings
    run = swanlab.init(
        mode="offline",
        log_dir=str(folder),
        project=history.name[:MAX_NAME],
        name=history.run_id,
        id=history.run_id,
        resume="never",
        reinit=True,
        config={
            **history.settings,
            "launcher.state": history.state.value,
            **{f"launcher.{name}": link for name, link in history.links.items()},
        },
        settings=settings(
            interactive=False,
            probe=settings.Probe(
                hardware=False, runtime=False, requirements=False, git=False, swanlab=False, monitor=False
            ),
            terminal=settings.Terminal(proxy_type="none"),
        ),
    )
    written = Path(run.dir)
    for step, values in _by_step(history).items():
        run.log(values, step=step)
    end = _ENDS.get(history.state, "success")
    run.finish(state=end, error=f"launcher explain {history.run_id}" if end == "crashed" else None)
    return written


def _by_step(history: History) -> dict[int, dict[str, float]]:
    """In order of steps: SwanLab takes no step that lies before the last."""
    rows: dict[int, dict[str, float]] = {}
    for name, points in history.points().items():
        for point in points:
            rows.setdefault(point.step, {})[name] = point.value
    return dict(sorted(rows.items()))


def _count_points(folder: Path) -> int:
    """By the reader of `swanlab sync`: what fails while SwanLab writes is a line on its console, and no error."""
    from swanlab.proto.swanlab.record.v1.record_pb2 import Record
    from swanlab.sdk.internal.core_python.store import DataStoreReader

    (file,) = folder.glob("run-*.swanlab")
    reader: Any = DataStoreReader()
    reader.open(file)
    count = 0
    while (data := reader.scan()) is not None:
        record = Record()
        record.ParseFromString(data)
        count += record.HasField("scalar")
    reader.close()
    return count
