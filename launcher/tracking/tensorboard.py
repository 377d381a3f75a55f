"""Curves as event files of TensorBoard, by TensorBoard's own writer."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from launcher.tracking.history import History, Point

DEFAULT = "tensorboard"
SUFFIX = ".launcher"
"""Ends the names of the event files that this writes, and may replace."""


def export(history: History, to: str) -> str:
    """Write the folder `<to>/<run id>`. An event file of an earlier export is replaced, any other is kept."""
    folder = Path(to) / history.run_id
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=to) as scratch:
        events = EventFile(Path(scratch))
        events.update(history)
        events.close()
        new = [path for path in Path(scratch).iterdir() if path.name.endswith(SUFFIX)]
        old = list(folder.glob(f"events.out.tfevents.*{SUFFIX}"))
        for path in new:
            path.replace(folder / path.name)
        for path in old:
            if path.name not in {each.name for each in new}:
                path.unlink()
    return str(folder)


class EventFile:
    """One event file, to which what is new is added.

    Readers of TensorBoard take back all points from the step of a session's start on, of earlier files of the folder, too. So steps that
    a restart repeats, or that an earlier node program has written, are one curve.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(folder), filename_suffix=SUFFIX)
        self._written: dict[str, list[Point]] = {}
        self._begun = False

    def update(self, history: History) -> None:
        """Write what the file lacks. Raises OSError."""
        wanted = history.points()
        changed = [step for name in self._written if (step := self._changed(name, wanted)) is not None]
        if not self._begun:
            changed = [points[0].step for points in wanted.values() if points]
        if changed:
            self._start(min(changed))
        for name, points in wanted.items():
            written = self._written.setdefault(name, [])
            for point in points[len(written) :]:
                self._add(name, point)
                written.append(point)
        self._writer.flush()

    def close(self) -> None:
        """Write what is buffered."""
        self._writer.close()

    def _changed(self, name: str, wanted: dict[str, tuple[Point, ...]]) -> int | None:
        """The first step from which on the written curve is no longer part of the wanted one."""
        written, points = self._written[name], wanted.get(name, ())
        for place, point in enumerate(written):
            if place >= len(points):
                return point.step
            if points[place] != point:
                return min(point.step, points[place].step)
        return None

    def _start(self, step: int) -> None:
        """Take back all points of this step and later ones."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        self._begun = True
        self._writer.add_event(Event(step=step, session_log=SessionLog(status=SessionLog.START)))
        for points in self._written.values():
            points[:] = [point for point in points if point.step < step]

    def _add(self, name: str, point: Point) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        value: Any = Summary.Value(tag=name, simple_value=point.value)
        self._writer.add_event(_event(point, Summary(value=[value])))


def _event(point: Point, summary: Any) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(wall_time=point.at, step=point.step, summary=summary)
