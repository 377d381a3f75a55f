"""A node program goes on the same when the clock of its machine is set, forth or back."""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from launcher.jobfile.spec_failures import RetrySpec
from launcher.node.decisions import CheckpointProgress, decide_next
from launcher.node.heartbeat import SILENT_BEAT_S, Heartbeat
from launcher.node.messages import StepReport
from launcher.node.stopping import Stopper
from launcher.ranks.diagnose import Cause
from launcher.ranks.restarts import RestartPolicy
from launcher.runfolder.states import State
from tests.launcher.node.conftest import Clocks

YEAR_S = 365 * 86_400.0


class Clock:
    """Both clocks of a machine, for one module."""

    def __init__(self) -> None:
        self.wall, self.running = 1_795_300_000.0, 1000.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.running


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("heartbeat", "stopping", "decisions"):
        monkeypatch.setattr(f"launcher.node.{module}.time", clock)
    return clock


@pytest.mark.parametrize("step_s", [-YEAR_S, -600.0, 600.0, YEAR_S])
def test_the_heartbeat_goes_on(clock: Clock, step_s: float, tmp_path: Path) -> None:
    path = tmp_path / "node-0.json"
    heartbeat = Heartbeat(path, 0, 1)
    heartbeat.beat()
    path.unlink()
    clock.wall += step_s
    heartbeat.beat()
    assert not path.exists(), "nothing has changed, and little time has passed"
    clock.running += SILENT_BEAT_S + 1
    heartbeat.beat()
    assert json.loads(path.read_text())["updated_at"] == clock.wall


@pytest.mark.parametrize("step_s", [-YEAR_S, YEAR_S])
def test_the_time_limit_is_that_of_the_run(clock: Clock, step_s: float, tmp_path: Path) -> None:
    quiet = SimpleNamespace(is_set=lambda: False)
    files = SimpleNamespace(stop=tmp_path / "stop", cancel=tmp_path / "cancel.json")
    plan = SimpleNamespace(run_dir=files, time_limit_s=3600)
    stopper = Stopper(cast("Any", plan), cast("Any", SimpleNamespace(superseded=quiet, cancelled=quiet)))
    clock.wall += step_s
    assert stopper.request is None
    clock.running += 3601
    assert stopper.request is not None


def test_restarts_are_counted_within_true_time(clock: Clock) -> None:
    policy = RestartPolicy(RetrySpec(max_restarts=1, window=86_400, backoff=0))
    failed = [StepReport(ok=False, cause=Cause(words="it failed"))]
    progress = CheckpointProgress(None, None)
    assert decide_next(failed, policy, progress, 1, "run").do == "restart"
    clock.wall += YEAR_S
    assert decide_next(failed, policy, progress, 2, "run").do == "end"


def test_a_run_succeeds_whatever_the_clock_does(jobs, clocks: Clocks, tmp_path: Path) -> None:
    """Python's clock of the node program and of the rank is set forth by a year, then back by two."""
    env = {"HOLD_AT": "3", "RELEASE": str(tmp_path / "go")}
    entry = jobs.submit(env=env, resources={"time_limit": "12h"})
    jobs.until(entry, lambda view: (view.progress.step or 0) >= 1)
    clocks.set("time", YEAR_S)
    clocks.pass_time(SILENT_BEAT_S + 1.0)
    jobs.until(
        entry, lambda view: view.nodes[0].updated_at > time.time() + YEAR_S / 2 and view.progress.step == 3
    )
    clocks.set("time", -YEAR_S)
    clocks.pass_time(SILENT_BEAT_S + 1.0)
    jobs.until(entry, lambda view: view.nodes[0].updated_at < time.time() - YEAR_S / 2)
    (tmp_path / "go").touch()
    view = jobs.end(entry)
    assert (view.state, view.attempt, view.safe_step) == (State.SUCCEEDED, 1, 6)
    assert view.results == {"last": 0.021}
