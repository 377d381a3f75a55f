"""`track:`: what the trackers' own readers find while a run goes on, after restarts and after its end."""

from __future__ import annotations

import importlib.util
import json
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import LauncherError
from launcher.jobfile.load import load_job
from launcher.runfolder.states import State
from launcher.storage.address import local_folder
from launcher.submission.preflight import check_plan
from launcher.submission.resume import resume
from launcher.tracking.history import History, Point
from launcher.tracking.trackers import live_writer
from tests.launcher.samples import NOW, Sample, write_job
from tests.waiting import wait_until

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="NOT TESTED: tensorboard is not installed"
)
needs_mlflow = pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None, reason="NOT TESTED: mlflow is not installed"
)
foreign = pytest.mark.filterwarnings("ignore")
"""What the tracker's own library warns of."""

EMPTY = History("r-1", "sample", State.RUNNING, {"ranks": "1"}, {}, {}, {"run": "s3://b/r-1"}, NOW, None)


def curve(**values: float) -> History:
    """A running training with these losses: `s10=2.0` is step 10."""
    points = tuple(Point(int(key[1:]), value, NOW + int(key[1:])) for key, value in values.items())
    return replace(EMPTY, curves={"train/loss": points})


def ended(history: History, **results: float) -> History:
    return replace(history, state=State.SUCCEEDED, results=results, ended_at=NOW + 99)


def read_tensorboard(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [(e.step, round(e.value, 4)) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def mlflow_runs(uri: str) -> list[Any]:
    """The runs of the experiment of `jobs`; none while there is no experiment."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name("counter")
    return list(client.search_runs([found.experiment_id])) if found else []


def runs_in_mlflow(uri: str) -> bool:
    """Whether MLflow has a run that goes on. Its files are written beside this, so a look at them may fail."""
    with suppress(Exception):
        return "RUNNING" in [each.info.status for each in mlflow_runs(uri)]
    return False


STORY = (
    EMPTY,
    curve(s10=2.0),
    curve(s10=2.0, s20=1.5, s30=1.2),
    curve(s10=2.0, s15=9.0),  # a restart has gone back to step 10
    curve(s10=2.0, s15=9.0, s20=1.4),
    curve(s10=2.0, s15=9.0, s20=1.4),
)
LAST = [(10, 2.0), (15, 9.0), (20, 1.4)]


@needs_tensorboard
@foreign
def test_tensorboard_has_one_curve_at_any_time(tmp_path: Path) -> None:
    writer = live_writer("tensorboard", tmp_path, "")
    for history in STORY:
        writer.update(history)
        wanted = [(point.step, point.value) for points in history.curves.values() for point in points]
        assert read_tensorboard(tmp_path / "tensorboard").get("train/loss", []) == wanted
    writer.update(ended(STORY[-1], last=0.5))
    assert read_tensorboard(tmp_path / "tensorboard") == {"train/loss": LAST, "result/last": [(20, 0.5)]}


@needs_tensorboard
@foreign
def test_files_of_several_node_programs_are_one_curve(tmp_path: Path) -> None:
    for history in (STORY[2], STORY[4]):  # one that was killed, and its successor
        live_writer("tensorboard", tmp_path, "").update(history)
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2
    assert read_tensorboard(tmp_path / "tensorboard") == {"train/loss": LAST}


@needs_mlflow
@foreign
def test_mlflow_has_one_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    uri = (tmp_path / "mlruns").as_uri()
    writer = live_writer("mlflow", tmp_path, uri)
    for history in STORY:
        writer.update(history)
    live_writer("mlflow", tmp_path, uri).update(STORY[-1])  # a second node program
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("sample").experiment_id
    (held,) = client.search_runs([experiment])
    assert held.info.status == "RUNNING"
    writer.update(ended(STORY[-1], last=0.5))
    (held,) = client.search_runs([experiment])
    history = client.get_metric_history(held.info.run_id, "train/loss")
    assert sorted((each.step, each.value) for each in history) == LAST
    assert (held.info.status, held.data.metrics["result/last"]) == ("FINISHED", 0.5)
    live_writer("mlflow", tmp_path, uri).update(STORY[-1])  # a resume
    assert client.get_run(held.info.run_id).info.status == "RUNNING"


@needs_tensorboard
@foreign
def test_a_run_with_a_restart_has_its_curves_in_the_store(jobs) -> None:
    track = {"to": ["tensorboard", "csv"], "every": "1s"}
    view = jobs.run(env={"FAIL_AT": "5:0:exit 9"}, retry={"max_restarts": 1, "backoff": "0s"}, track=track)
    assert view.state is State.SUCCEEDED
    assert view.nodes[0].tracking_error == ""
    folder = local_folder(view.url)
    assert folder is not None
    steps = [step for step, _ in read_tensorboard(folder / "tensorboard")["train/loss"]]
    assert steps == sorted(set(steps)) and len(steps) > 5
    rows = (folder / "tracked.csv").read_text().splitlines()
    assert [int(row.split(",")[0]) for row in rows[1:]] == steps
    named = {each["name"] for each in json.loads((folder / "MANIFEST.json").read_text())["files"]}
    assert "tracked.csv" in named


@needs_tensorboard
@foreign
def test_a_resume_on_an_empty_machine_goes_on_with_the_same_curve(jobs) -> None:
    """Step 3 is trained twice. Without a server, so that it runs where MLflow is not installed, too."""
    track = {"to": ["tensorboard", "csv"], "every": "1s"}
    entry = jobs.submit(env={"FAIL_AT": "4:0:exit 2", "STEPS": "6"}, track=track)
    assert jobs.end(entry).state is State.FAILED
    shutil.rmtree(entry.run_dir.root)
    view = jobs.end(resume(jobs.index.find(entry.run_id), jobs.index))
    assert (view.state, view.nodes[0].tracking_error) == (State.SUCCEEDED, "")
    folder = local_folder(view.url)
    assert folder is not None
    assert [step for step, _ in read_tensorboard(folder / "tensorboard")["train/loss"]] == [1, 2, 3, 4, 5, 6]
    rows = (folder / "tracked.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "1", "2", "3", "4", "5", "6"]
    assert len(list((folder / "tensorboard").iterdir())) == 2


@needs_mlflow
@foreign
def test_mlflow_has_one_run_of_a_resumed_run(jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first machine is lost, and its ranks have been started again before.

    Each training waits until MLflow knows of it, so that the end of the run waits for no import.
    """
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri, release = (jobs.folder / "mlruns").as_uri(), jobs.folder / "release"
    hold = {"HOLD_AT": "3", "HOLD_RESUMED": "3", "RELEASE": str(release)}
    entry = jobs.submit(
        env={"FAIL_AT": "4:0:exit 9", "FAIL_ALWAYS": "1", "STEPS": "6", **hold},
        track={"to": ["mlflow"], "mlflow_uri": uri, "every": "1s"},
        retry={"max_restarts": 1, "backoff": "0s"},
    )
    wait_until(lambda: runs_in_mlflow(uri), "MLflow has the run")
    release.touch()
    assert jobs.end(entry).state is State.FAILED
    release.unlink()
    shutil.rmtree(entry.run_dir.root)
    resumed = resume(jobs.index.find(entry.run_id), jobs.index)
    wait_until(lambda: runs_in_mlflow(uri), "MLflow has the resume")
    release.touch()
    assert jobs.end(resumed).nodes[0].tracking_error == ""
    (held,) = mlflow_runs(uri)
    assert held.info.status == "FAILED"
    from mlflow import MlflowClient

    points = MlflowClient(tracking_uri=uri).get_metric_history(held.info.run_id, "train/loss")
    assert sorted(point.step for point in points) == [1, 2, 3]


def test_a_tracker_that_fails_fails_no_run(jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a server that refuses nor, where MLflow is not installed, a package that is missing."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    track = {"to": ["mlflow"], "mlflow_uri": "http://127.0.0.1:9", "every": "1s"}
    view = jobs.run(track=track)
    assert view.state is State.SUCCEEDED
    assert view.nodes[0].tracking_error.startswith("mlflow: ")


@pytest.mark.parametrize(
    ("track", "words"),
    [
        ({"to": ["wandb"]}, "wandb"),
        ({"to": ["csv", "swanlab"]}, "`launcher export RUN --to swanlab`"),
        ({"to": ["csv", "csv"]}, "csv is here twice"),
        (
            {"to": ["mlflow"], "mlflow_uri": "https://me:secret@mlflow.example.com"},
            "credentials don't belong",
        ),
        ({"to": ["mlflow"], "mlflow_uri": "mlruns"}, "an absolute path"),
        ({"to": ["csv"], "mlflow_uri": "https://mlflow.example.com"}, "not among track.to"),
        ({"to": ["csv"], "every": "0s"}, "every"),
    ],
)
def test_what_is_refused(track: dict[str, object], words: str, tmp_path: Path, launcher_home: Path) -> None:
    with pytest.raises(LauncherError) as raised:
        load_job(str(write_job(tmp_path, track=track)))
    assert words in str(raised.value)
    assert "secret@" not in str(raised.value)


def test_check_names_trackers_that_get_nothing(
    tmp_path: Path, launcher_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Sample(tmp_path, track={"to": ["csv", "tensorboard", "mlflow"]}).plan
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    found = [each for each in check_plan(plan) if each.rule == "PF019"]
    assert [(each.where, each.severity) for each in found] == [
        ("track.to[1]", "warning"),
        ("track.to[2]", "warning"),
    ]
    assert "pip install 'ascend-launcher[tensorboard]'" in found[0].fix
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: object())
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (found_uri,) = [each for each in check_plan(plan) if each.rule == "PF019"]
    assert "no tracking server" in found_uri.message
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example.com")
    assert not [each for each in check_plan(plan) if each.rule == "PF019"]
