"""Several runs on a cluster, the devices that Slurm gives, and a controller that is away."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from launcher.api import Run, submit_points
from launcher.errors import PlanError
from launcher.runs.view import RunView
from launcher.submission.cancel import cancel
from launcher.submission.launch import submit
from launcher.submission.prepare import prepare
from launcher.submission.sweeps import Axis, prepare_points
from tests.slurm.cluster import Cluster
from tests.slurm.jobs import SlurmJobs
from tests.slurm.test_slurm_runs import FAKES, LONG


def test_a_sweep_is_one_array_with_so_many_runs_at_a_time(jobs: SlurmJobs) -> None:
    release = jobs.folder / "sweep.release"
    hold = {"HOLD_AT": "1", "RELEASE": str(release)}
    file = jobs.file("sweep", nodes=1, env=hold, slurm={"max_parallel": 2, "exclusive": False})
    runs = submit_points(prepare_points(file, [Axis("env.STEPS", ("'4'", "'6'", "'8'"))]), "study")
    entries = [run.entry for run in runs]
    jobs.entries += entries
    numbers = [jobs.number(entry) for entry in entries]
    assert [number.partition("_")[2] for number in numbers] == ["0", "1", "2"]
    assert len({number.partition("_")[0] for number in numbers}) == 1
    jobs.until(
        entries[2], lambda view: "waits for another run of its sweep" in view.detail, "it says why it waits"
    )
    release.touch()
    views = [jobs.end(entry) for entry in entries]
    assert [view.state for view in views] == ["SUCCEEDED"] * 3
    assert [view.results["last"] for view in views] == [pytest.approx(x) for x in (0.01, 0.021, 0.036)]


def test_a_run_that_follows_another_one(jobs: SlurmJobs) -> None:
    first = jobs.submit("first", nodes=1, env=LONG, slurm={"extra": ["--hold"]})
    second = jobs.submit("second", nodes=1, slurm={"after": [first.run_id]})
    seen = jobs.until(second, lambda view: "waits for the run" in view.detail, "it waits")
    assert seen.state == "PENDING"
    cancel(first)
    assert jobs.end(first).state == "CANCELLED"
    view = jobs.end(second)
    assert (view.state, "DependencyNeverSatisfied" in view.reason) == ("FAILED", True)
    with pytest.raises(PlanError, match="nothing can follow it"):
        submit(prepare(jobs.file("third", slurm={"after": [first.run_id]})), jobs.index)


def test_ranks_get_the_npus_that_slurm_gave(jobs: SlurmJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{FAKES}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_ASCEND", str(FAKES / "machines" / "ascend910"))
    both = jobs.folder / "npus"
    both.mkdir()
    code = (
        "import os, pathlib, time; print('sees', os.environ['ASCEND_RT_VISIBLE_DEVICES'], flush=True)\n"
        f"both = pathlib.Path({str(both)!r}); (both / os.environ['LAUNCHER_RUN']).touch()\n"
        "while len(list(both.iterdir())) < 2: time.sleep(0.1)"
    )
    entries = [
        jobs.submit(
            f"npus-{k}",
            nodes=1,
            program=[sys.executable, "-c", code],
            resources={"device": "ascend910", "devices_per_node": 4},
            slurm={"exclusive": False, "nodelist": "node9"},
        )
        for k in range(2)
    ]
    seen = []
    for entry in entries:
        view = jobs.end(entry)
        assert view.state == "SUCCEEDED", view.reason
        lines = [line.text for line in Run(entry, jobs.index).logs(rank=0)]
        seen += [line.partition("sees ")[2] for line in lines if "sees " in line]
    assert sorted(seen) == ["0,1,2,3", "4,5,6,7"]


@pytest.mark.slow
def test_a_controller_that_is_away_loses_nobody(jobs: SlurmJobs) -> None:
    release = jobs.folder / "controller.release"
    hold = {"HOLD_AT": "4", "RELEASE": str(release)}
    running = jobs.submit("controller", env=hold, nodes=1)
    held = jobs.submit("controller-held", slurm={"extra": ["--hold"]})
    jobs.safe(running, 2)
    pid = int((jobs.cluster.folder / "run" / "slurmctld.pid").read_text())
    os.kill(pid, signal.SIGTERM)
    Cluster.until(lambda: not Path(f"/proc/{pid}").exists(), "the controller has ended")
    try:
        view: RunView = jobs.view(running)
        assert view.state == "RUNNING", "no answer is no end"
        release.touch()
        assert jobs.end(running).state == "SUCCEEDED"
    finally:
        jobs.cluster.call("slurmctld")
    jobs.until(held, lambda view: "is held" in view.detail, "the controller answers again")
    cancel(held)
    assert jobs.end(held).state == "CANCELLED"
    jobs.nothing_is_left(running)
