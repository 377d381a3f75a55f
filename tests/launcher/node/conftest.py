"""What tests of this room share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.node.heartbeat import SILENT_BEAT_S
from launcher.runfolder.states import NodeStatus
from launcher.runs.view import RunView
from tests.conftest import Jobs
from tests.launcher.node.machines import Machines, begin_programs_with

STEPPED = """
import os, time
folder, wall, running = os.environ["CLOCKS_OFF"], time.time, time.monotonic

def off(clock):
    with open(os.path.join(folder, clock)) as text:
        return float(text.read())

time.time = lambda: wall() + off("time")
time.monotonic = lambda: running() + off("monotonic")
"""


@pytest.fixture
def machines(tmp_path: Path, launcher_home: Path) -> Iterator[Machines]:
    machines = Machines(tmp_path, (tmp_path / "runs").as_uri())
    yield machines
    machines.end()


class Clocks:
    """Python's clocks in all programs that a test starts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._passed_s = 0.0
        self.set("time", 0.0)
        self.set("monotonic", 0.0)

    def set(self, clock: str, off_s: float) -> None:
        """From now on the clock shows so much more than the right time."""
        (self._folder / "new").write_text(str(off_s))
        (self._folder / "new").replace(self._folder / clock)

    def pass_time(self, seconds: float) -> None:
        """Nobody waits for it."""
        self._passed_s += seconds
        self.set("monotonic", self._passed_s)

    def pass_until(self, jobs: Jobs, condition: Callable[[RunView], bool]) -> RunView:
        """Time passes for the newest job in steps that are no sleep of the machine, each after a new heartbeat."""
        entry = jobs.entries[-1]
        while not condition(view := jobs.view(entry)):
            beat = _beat(view)
            self.pass_time(SILENT_BEAT_S + 1.0)
            jobs.until(entry, lambda view, beat=beat: condition(view) or _beat(view) != beat)  # type: ignore[misc]
        return view


def _beat(view: RunView) -> list[float]:
    nodes: tuple[NodeStatus, ...] = view.nodes
    return [node.updated_at for node in nodes]


@pytest.fixture
def clocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clocks:
    folder = begin_programs_with(STEPPED, tmp_path / "stepped", monkeypatch)
    monkeypatch.setenv("CLOCKS_OFF", str(folder))
    return Clocks(folder)
