"""`launcher export`: what the trackers' own readers find, also after restarts and repeated exports."""

import csv
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.cli import main
from launcher.export.history import history_of
from launcher.runfolder.states import State
from launcher.tracking.history import without_repeats
from tests.launcher.samples import NOW, Sample

ROWS = [
    {"epoch": 1, "step": 10, "loss": 2.0, "lr": 0.1, "top1": 0.2, "seconds": 5.0},
    {"epoch": 2, "step": 20, "loss": 1.5, "lr": 0.1, "top1": 0.4, "seconds": 5.0},
    {"epoch": 3, "step": 30, "loss": "NaN", "lr": 0.05, "top1": 0.5, "seconds": 5.0, "=cmd": 1.0},
]
RESTARTED = [*ROWS[:2], {**ROWS[0], "step": 15, "loss": 9.0}, {**ROWS[1], "loss": 1.4}, ROWS[2]]

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="NOT TESTED: tensorboard is not installed"
)
needs_mlflow = pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None, reason="NOT TESTED: mlflow is not installed"
)

needs_swanlab = pytest.mark.skipif(
    importlib.util.find_spec("swanlab") is None, reason="NOT TESTED: swanlab is not installed"
)


@pytest.fixture
def sample(tmp_path: Path, launcher_home: Path) -> Sample:
    sample = Sample(tmp_path, model={"set": {"epochs": 3}})
    sample.metrics(*ROWS)
    sample.state(State.SUCCEEDED, results={"last": 0.51})
    return sample


def read_tensorboard(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [(e.step, round(e.value, 4)) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def test_steps_that_a_restart_repeats_count_once() -> None:
    rows = [
        {"step": step, "attempt": a}
        for a, steps in ((1, (2, 4, 6, 7)), (2, (6, 8)), (3, (8, 10)))
        for step in steps
    ]
    rows.insert(3, {"step": "6"})
    assert [(row["step"], row["attempt"]) for row in without_repeats(rows)] == [
        (2, 1), (4, 1), (6, 2), (8, 3), (10, 3),
    ]  # fmt: skip


def test_times_follow_the_epochs(sample: Sample) -> None:
    (first, second, third) = history_of(sample.run).curves["train/lr"]
    assert [first.at - NOW, second.at - NOW, third.at - NOW] == [5.0, 10.0, 15.0]


def test_csv_has_a_row_for_each_step(
    sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "curves" / "all.csv"
    assert main(["export", sample.plan.run_id, "--to", "csv", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert [row["step"] for row in rows] == ["10", "20", "30"]
    assert [row["train/loss"] for row in rows] == ["2.0", "1.5", ""]
    assert [row["eval/top1"] for row in rows] == ["0.2", "0.4", "0.5"]


def test_one_csv_file_holds_several_runs_and_no_run_replaces_another(
    sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Sample(tmp_path, name="other")
    other.metrics({"epoch": 1, "step": 7, "acc": 0.5})
    other.state(State.SUCCEEDED)
    out, one, two = tmp_path / "both.csv", sample.plan.run_id, other.plan.run_id
    assert main(["export", one, "--to", "csv", "--out", str(out)]) == 0
    alone = out.read_text()
    capsys.readouterr()
    assert main(["export", two, "--to", "csv", "--out", str(out)]) == 2
    assert f"launcher export {one} {two} --to csv --out {out}" in capsys.readouterr().err
    assert out.read_text() == alone
    assert main(["export", one, two, "--to", "csv", "--out", str(out)]) == 0
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert [(row["run_id"], row["step"], row["train/acc"]) for row in rows] == [
        (one, "10", ""), (one, "20", ""), (one, "30", ""), (two, "7", "0.5"),
    ]  # fmt: skip


@pytest.mark.parametrize("content", [b"step,loss\n1,2\n", b"\xff\xfe", b"notes\n"])
def test_a_file_that_no_export_wrote_is_not_replaced(
    sample: Sample, tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.csv"
    out.write_bytes(content)
    assert main(["export", sample.plan.run_id, "--to", "csv", "--out", str(out)]) == 2
    assert "name another file" in capsys.readouterr().err
    assert out.read_bytes() == content


@pytest.mark.parametrize(("word", "hint"), [("tb", "; did you mean tensorboard?"), ("excel", "")])
def test_an_unknown_tracker_is_answered_in_words(
    word: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["export", "last", "--to", word])
    expected = f"expected csv, mlflow, swanlab or tensorboard, found '{word}'{hint}\n"
    assert capsys.readouterr().err.endswith(expected)


def test_a_program_without_metrics_is_exported_by_its_progress(sample: Sample, tmp_path: Path) -> None:
    (sample.root / "metrics.jsonl").unlink()
    events: list[dict[str, Any]] = [
        {"event": "phase", "phase": "training", "t": 1.0},
        {"event": "step", "step": 3, "loss": 0.5, "t": 7.0},
    ]
    sample.write("progress/rank-0.jsonl", "".join(json.dumps(each) + "\n" for each in events))
    (point,) = history_of(sample.run).curves["train/loss"]
    assert (point.step, point.value, point.at) == (3, 0.5, 7.0)


@needs_tensorboard
@pytest.mark.filterwarnings("ignore")  # what the tracker's own library warns of
def test_tensorboard_reads_one_curve_after_restarts_and_exports(sample: Sample, tmp_path: Path) -> None:
    logs = tmp_path / "tb"
    command = ["export", sample.plan.run_id, "--to", "tensorboard", "--out", str(logs)]
    assert main(command) == 0
    folder = logs / sample.plan.run_id
    (folder / "events.out.tfevents.1.other").touch()
    sample.metrics(*RESTARTED)
    assert main(command) == 0
    assert main(command) == 0
    curves = read_tensorboard(folder)
    assert curves["train/loss"] == [(10, 2.0), (15, 9.0), (20, 1.4)]
    assert curves["eval/top1"] == [(10, 0.2), (15, 0.2), (20, 0.4), (30, 0.5)]
    assert curves["result/last"] == [(30, 0.51)]
    assert len(list(folder.glob("*.launcher"))) == 1
    assert (folder / "events.out.tfevents.1.other").exists()
    assert [path.name for path in logs.iterdir()] == [sample.plan.run_id]


@pytest.mark.system
@needs_mlflow
@pytest.mark.filterwarnings("ignore")  # what the tracker's own library warns of
def test_mlflow_reads_one_curve_after_restarts_and_exports(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    uri = (tmp_path / "mlruns").as_uri()
    command = ["export", sample.plan.run_id, "--to", "mlflow", "--out", uri]
    sample.metrics(*ROWS[:2])
    sample.state(State.RUNNING)
    assert main(command) == 0
    sample.state(State.SUCCEEDED, results={"last": 0.51})
    sample.metrics(*RESTARTED)
    assert main(command) == 0
    assert main(command) == 0
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("sample")
    (held,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(held.info.run_id, "train/loss")
    assert sorted((each.step, each.value) for each in history) == [(10, 2.0), (15, 9.0), (20, 1.4)]
    assert held.info.status == "FINISHED"
    assert held.data.metrics["result/last"] == 0.51
    assert held.data.params["recipe.epochs"] == "3"
    assert held.data.tags["launcher.run"] == sample.plan.store.url


def read_swanlab(folder: Path) -> tuple[Any, dict[str, list[tuple[int, float]]], str]:
    """The first record of an offline run, its curves and how it ended, by the reader of `swanlab sync`."""
    from swanlab.proto.swanlab.record.v1.record_pb2 import Record
    from swanlab.proto.swanlab.run.v1.run_pb2 import RunState
    from swanlab.sdk.internal.core_python.store import DataStoreReader

    (file,) = folder.glob("run-*.swanlab")
    reader = DataStoreReader()
    reader.open(file)
    records = []
    while (data := reader.scan()) is not None:
        records.append(Record())
        records[-1].ParseFromString(data)
    reader.close()
    curves: dict[str, list[tuple[int, float]]] = {}
    for record in records:
        if record.HasField("scalar"):
            curves.setdefault(record.scalar.key, []).append((record.scalar.step, record.scalar.value.number))
    return records[0].start, curves, RunState.Name(records[-1].finish.state)


@needs_swanlab
@pytest.mark.filterwarnings("ignore")  # what the tracker's own library warns of
def test_swanlab_has_one_run_with_one_curve_after_restarts_and_exports(
    sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = tmp_path / "swan"
    command = ["export", sample.plan.run_id, "--to", "swanlab", "--out", str(logs)]
    (logs / sample.plan.run_id / "run-other").mkdir(parents=True)
    sample.state(State.FAILED)
    assert main(command) == 0
    sample.state(State.SUCCEEDED, results={"last": 0.51})
    sample.metrics(*RESTARTED)
    assert main(command) == 0
    (folder,) = [path.parent for path in logs.glob("*/run-*/run-*.swanlab")]
    assert capsys.readouterr().out.endswith(f"{folder}; send it with: swanlab sync {folder}\n")
    start, curves, end = read_swanlab(folder)
    assert (start.project, start.id, end) == ("sample", sample.plan.run_id, "RUN_STATE_FINISHED")
    assert curves["train/loss"] == [(10, 2.0), (15, 9.0), (20, 1.4)]
    assert curves["result/last"] == [(30, 0.51)]
    settings = yaml.safe_load((folder / "files" / "config.yaml").read_text(encoding="utf-8"))
    assert settings["recipe.epochs"]["value"] == "3"
    assert settings["launcher.run"]["value"] == sample.plan.store.url
    about = json.loads((folder / "files" / "swanlab-metadata.json").read_text(encoding="utf-8"))
    assert not any(about[key] for key in ("hardware", "runtime", "git"))
    assert (logs / sample.plan.run_id / "run-other").is_dir()


@needs_swanlab
@pytest.mark.filterwarnings("ignore")  # what the tracker's own library warns of
def test_points_that_swanlab_does_not_write_are_an_error(
    sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its error would be a line on its console. What an earlier export wrote stays."""
    command = ["export", sample.plan.run_id, "--to", "swanlab", "--out", str(tmp_path)]
    assert main(command) == 0
    before = list(tmp_path.glob("*/run-*/run-*.swanlab"))
    sample.metrics({**ROWS[0], "a": 1.0, "a/": 2.0})
    assert main(command) == 2
    assert "SwanLab wrote 5 of 6 points" in capsys.readouterr().err
    assert list(tmp_path.glob("*/run-*/run-*.swanlab")) == before


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "swanlab"])
def test_a_tracker_that_is_not_installed_is_a_usage_error(
    name: str, sample: Sample, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    assert main(["export", sample.plan.run_id, "--to", name]) == 2
    assert f"pip install 'ascend-launcher[{name}]'" in capsys.readouterr().err


def test_a_place_that_takes_no_file_is_a_usage_error(
    sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("")
    assert (
        main(["export", sample.plan.run_id, "--to", "csv", "--out", str(tmp_path / "taken" / "x.csv")]) == 2
    )
    assert "can't write there" in capsys.readouterr().err
