"""Whole training runs in real processes: ranks, resuming, what is on disk afterwards."""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.vitmodels.trainings import Run, start, wait_for_event, wait_for_step
from vitmodels.training.checkpoint import list_sets

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """An uninterrupted run of one rank."""
    run = start(tmp_path_factory.mktemp("whole"), data, cache=False)
    assert run.wait() == [0], run.output(0)
    yield run


@pytest.fixture(scope="module")
def pair(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """An uninterrupted run of two ranks, with half the batch each."""
    run = start(tmp_path_factory.mktemp("pair"), data, ranks=2, batch_size=4)
    assert run.wait() == [0, 0], run.output(0) + run.output(1)
    yield run


def test_a_run_leaves_what_the_launcher_reads(whole: Run) -> None:
    assert whole.newest().step == 32
    assert whole.newest().epoch == 4
    last = json.loads((whole.folder / "eval" / "last.json").read_text())
    assert last["images"] == 10
    assert last["source"] == "checkpoint"
    assert last["file"] == "checkpoints/step-32"
    rows = [json.loads(line) for line in (whole.folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["step"] for row in rows] == [8, 16, 24, 32]
    assert rows[-1]["top1"] == last["top1"]
    phases = [event["phase"] for event in whole.events(0, "phase")]
    assert phases[:3] == ["starting", "compiling", "training"]
    assert phases[-1] == "done"
    assert whole.events(0, "step")[-1]["step"] == 32
    assert (last["classes"], last["data"]["images"]) == (["bottom", "top"], 10)
    assert [event["split"] for event in whole.events(0, "data")] == ["train", "val"]
    assert [event["classes"] for event in whole.events(0, "classes")] == [["bottom", "top"]]
    assert (whole.newest().manifest["classes"], whole.newest().manifest["class_order"]) == (
        ["bottom", "top"],
        "text",
    )
    best = json.loads((whole.folder / "checkpoints" / "best.json").read_text())
    assert best["top1"] == max(row["top1"] for row in rows)
    table = (whole.folder / "metrics.csv").read_text().splitlines()
    assert table[0].startswith("epoch,step,loss,lr,top1")
    assert len(table) == 5
    assert (whole.folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_log_has_one_line_per_epoch_and_no_noise(whole: Run) -> None:
    train, val, kernels, *lines = whole.output(0).splitlines()
    assert (train, val) == ("train: 64 images of 2 classes", "val: 10 images of 2 classes")
    assert kernels.startswith("CPU kernels: ")
    assert len(lines) == 4, lines
    assert all(line.startswith(f"epoch {number}/4") for number, line in enumerate(lines, 1))


@pytest.mark.slow
def test_two_ranks_learn_what_one_rank_learns_at_twice_the_batch(whole: Run, pair: Run) -> None:
    losses = [
        [json.loads(line)["loss"] for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
        for run in (whole, pair)
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=2e-4)
    one, two = whole.newest().weights(), pair.newest().weights()
    worst = max(float(np.abs(one[name] - two[name]).max()) for name in one)
    assert worst < 5e-3, worst  # rounding of other sums over 32 updates; another batch order gives 5e-2


@pytest.mark.slow
def test_clustered_ranks_are_silent_besides_rank_0(pair: Run) -> None:
    assert len(pair.output(0).splitlines()) == 7  # the data, which operators, then the epochs
    assert pair.output(1) == ""
    assert (pair.folder / "scheduler.txt").read_text() == ""


def same_training(one: Run, other: Run) -> None:
    """The same steps and losses, and weights and optimiser state equal to the last bit."""
    rows = [
        [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
        for run in (one, other)
    ]
    for key in ("step", "loss", "top1"):
        assert [row[key] for row in rows[0]] == [row[key] for row in rows[1]]
    for found, expected in (
        (one.newest().weights(), other.newest().weights()),
        (one.newest().state(), other.newest().state()),
    ):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bits(
    whole: Run, data: Path, tmp_path: Path, rng: random.Random
) -> None:
    run = start(tmp_path / "killed", data)
    wait_for_step(run, rng.randint(3, 27))
    run.kill()
    assert not (run.folder / "eval" / "last.json").exists()
    run = start(run.folder, data)
    assert run.wait() == [0], run.output(0)
    assert "resumed from step" in run.output(0)
    same_training(run, whole)
    steps = [json.loads(line)["step"] for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == [8, 16, 24, 32]


@pytest.mark.slow
def test_a_resumed_run_with_the_compile_cache_ends_with_the_same_bits(
    whole: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MS_COMPILER_CACHE_ENABLE", "1")
    monkeypatch.setenv("MS_COMPILER_CACHE_PATH", str(tmp_path / "cache"))

    def graphs() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.mindir")}

    run = start(tmp_path / "killed", data)
    wait_for_step(run, 9)  # after the first evaluation
    run.kill()
    compiled = graphs()
    assert len(compiled) == 2
    run = start(run.folder, data)
    assert run.wait() == [0], run.output(0)
    assert graphs() == compiled, "the second process compiled nothing"
    same_training(run, whole)


@pytest.mark.slow
def test_two_killed_ranks_resume_to_the_same_bits(
    pair: Run, data: Path, tmp_path: Path, rng: random.Random
) -> None:
    run = start(tmp_path / "killed", data, ranks=2, batch_size=4)
    wait_for_step(run, rng.randint(3, 27))
    run.kill()
    run = start(run.folder, data, ranks=2, batch_size=4)
    assert run.wait() == [0, 0], run.output(0) + run.output(1)
    same_training(run, pair)


def test_a_finished_run_says_that_nothing_is_left(whole: Run, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    shutil.copytree(whole.folder / "checkpoints", folder / "checkpoints")
    run = start(folder, data)
    assert run.wait() == [0], run.output(0)
    assert "nothing left to do" in run.output(0)
    assert [event["phase"] for event in run.events(0, "phase")] == ["starting", "done"]


def test_another_training_is_refused_or_starts_anew_from_the_weights(
    whole: Run, data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(whole.folder / "checkpoints", folder / "checkpoints")
    shutil.copy(whole.folder / "metrics.jsonl", folder)
    changes = {"optimizer": "momentum", "ema": 0.5, "epochs": 1, "save_every_steps": 0}
    run = start(folder, data, **changes)
    assert run.wait() == [2], run.output(0)
    words = "belongs to another training: optimizer was adamw and is momentum"
    assert words in run.output(0) and "ema was False and is True" in run.output(0)
    assert "Traceback" not in run.output(0)
    assert run.newest().step == 32
    run = start(folder, data, options=("--resume-as-pretrained",), **changes)
    assert run.wait() == [0], run.output(0)
    assert "starts anew from step-32, raw parameters" in run.output(0)
    assert [one.step for one in list_sets(folder / "checkpoints")] == [0, 8]
    first = list_sets(folder / "checkpoints")[0]
    for name, value in whole.newest().weights().items():
        np.testing.assert_array_equal(first.weights()[name], value)
        np.testing.assert_array_equal(first.averages()[name], value)
    assert list_sets(folder / "checkpoints-1")[-1].step == 32
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 1
    assert len((folder / "metrics-1.jsonl").read_text().splitlines()) == 4


@pytest.mark.slow
def test_ctrl_c_in_training_saves_like_sigterm(data: Path, tmp_path: Path) -> None:
    run = start(tmp_path / "stopped", data, epochs=400, eval_every=50, save_every=50, save_every_steps=0)
    wait_for_event(run, "epoch")  # the signal is taken over before the second step
    run.ranks[0].send_signal(signal.SIGINT)
    assert run.wait() == [75], run.output(0)
    assert "start again to resume" in run.output(0)
    assert "Traceback" not in run.output(0)
    assert 0 < run.newest().step < 3200
