"""Curves as an event file of TensorBoard, by TensorBoard's own writer."""

from __future__ import annotations

import tempfile
from pathlib import Path

from launcher.export.history import History

DEFAULT = "tensorboard"
SUFFIX = ".launcher"
"""Ends the names of the event files that this writes, and may replace."""


def export(history: History, to: str) -> str:
    """Write the folder `<to>/<run id>`. An event file of an earlier export is replaced, any other is kept."""
    folder = Path(to) / history.run_id
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=to) as scratch:
        _write(history, scratch)
        new = [path for path in Path(scratch).iterdir() if path.name.endswith(SUFFIX)]
        old = list(folder.glob(f"events.out.tfevents.*{SUFFIX}"))
        for path in new:
            path.replace(folder / path.name)
        for path in old:
            if path.name not in {each.name for each in new}:
                path.unlink()
    return str(folder)


def _write(history: History, folder: str) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(folder, filename_suffix=SUFFIX)
    last = max((points[-1].step for points in history.curves.values()), default=0)
    ended_at = history.ended_at or history.submitted_at
    curves = {
        name: [(each.step, each.value, each.at) for each in points] for name, points in history.curves.items()
    }
    curves |= {f"result/{name}": [(last, value, ended_at)] for name, value in history.results.items()}
    for name, points in curves.items():
        for step, value, at in points:
            summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
            writer.add_event(Event(wall_time=at, step=step, summary=summary))
    writer.close()
