"""The Python API on real runs of a program without a framework."""

import subprocess
import sys
from pathlib import Path

import pytest

import launcher
from launcher import api
from launcher.errors import NoSuchRun, PlanError
from launcher.jobfile.problems import JobFileError
from launcher.runfolder.states import State
from tests.waiting import PATIENCE_S

CURVE = Path(__file__).parents[1] / "programs" / "curve.py"


def curve(jobs, **env: str) -> Path:
    return jobs.file(
        program=[sys.executable, str(CURVE)],
        env={"STEPS": "4", "STEP_S": "0.01", **env},
        model={"set": {"epochs": 3}},
        retry={"max_restarts": 1, "backoff": "0s"},
    )


def test_submit_wait_metrics_logs_report_fetch_retry(jobs, tmp_path: Path) -> None:
    seen = []
    run = launcher.submit(
        curve(jobs, FAIL_EPOCH="3"), overrides={"model.set.epochs": 4, "model.set.seed": 7}, group="g"
    )
    jobs.entries.append(run.entry)
    view = run.wait(PATIENCE_S, poll_s=0.1, on_view=seen.append)
    assert (view.state, view.attempt, view.group) == (State.SUCCEEDED, 2, "g")
    assert seen[-1] == view
    assert [row.epoch for row in run.metrics()] == [1, 2, 3, 4]
    assert run.metrics()[-1].top1 == view.results["last"]
    assert run.plan().recipe == {"epochs": 4, "seed": 7}
    assert run.record()["origins"]["recipe.seed"] == "--set model.set.seed=7"
    assert "epoch 4/4" in [line.text for line in run.logs(rank=0)][-1]
    explanation = run.explain()
    assert (explanation.rank, explanation.attempt, explanation.advice) == (0, 1, "socket-timeout")
    assert explanation.error_line == "RuntimeError: [ERROR] HCCL error EI0006: connect to the peer timed out"
    assert run.fetch(tmp_path / "best", only="eval").files == 1
    run.cancel()  # does nothing to a run that has ended
    with pytest.raises(PlanError, match="nothing left to do"):
        run.resume()

    again = launcher.find(run.id).retry()
    jobs.entries.append(again.entry)
    assert again.id != run.id
    assert again.wait(PATIENCE_S).state is State.SUCCEEDED
    assert [row.epoch for row in again.metrics()] == [1, 2, 3, 4]
    assert again.plan().recipe == run.plan().recipe
    assert again.record()["retry_of"] == run.id
    assert str(again.plan()).count(run.id) == 0
    assert {each.id for each in launcher.list_runs()} == {run.id, again.id}


def test_cancel_and_resume(jobs) -> None:
    run = launcher.submit(curve(jobs), overrides={"env.STEP_S": "0.2"})
    jobs.entries.append(run.entry)
    jobs.until(run.entry, lambda view: (view.progress.step or 0) >= 2)
    with pytest.raises(TimeoutError, match="not ended within 0 s"):
        run.wait(0)
    run.cancel()
    assert run.wait(PATIENCE_S).state is State.CANCELLED
    resumed = run.resume()
    view = resumed.wait(PATIENCE_S)
    assert (view.state, view.attempt) == (State.SUCCEEDED, 2)
    assert view.attempts[1].resumed_step is not None


def test_errors_are_those_of_the_tree(launcher_home: Path, tmp_path: Path) -> None:
    with pytest.raises(NoSuchRun):
        launcher.find("nothing")
    with pytest.raises(JobFileError):
        launcher.submit(tmp_path / "nowhere.yaml")
    assert issubclass(JobFileError, launcher.LauncherError)


def test_values_of_overrides_keep_their_types() -> None:
    overrides = {"epochs": 3, "base_lr": 1e-4, "after.export": ["ONNX"], "name": "x: y", "after.eval": False}
    assert api.as_sets(overrides) == [
        "epochs=3", "base_lr=0.0001", 'after.export=["ONNX"]', 'name="x: y"', "after.eval=false"
    ]  # fmt: skip


def test_importing_launcher_loads_nothing_and_every_name_is_there() -> None:
    code = (
        "import sys, launcher; assert not {'pydantic', 'yaml', 'boto3', 'launcher.api'} & set(sys.modules)\n"
        "for name in launcher.__all__: getattr(launcher, name)\n"
        "try: launcher.nothing\nexcept AttributeError: pass\nelse: raise SystemExit('no error')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
