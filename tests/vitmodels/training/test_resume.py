"""Resuming means the same training; one training at a time in a run directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitmodels.config import Recipe
from vitmodels.errors import ResumeError, RunDirBusy
from vitmodels.recipe_file import make_recipe
from vitmodels.training.checkpoint import Snapshot, checked_set, newest_set, write_set
from vitmodels.training.position import Position
from vitmodels.training.resume import check_same_training, fingerprint, finish_start, start_anew
from vitmodels.training.rundirlock import RunDirLock


def recipe_of(**changes: object) -> Recipe:
    return make_recipe({"arch": "vit_digits", "num_classes": 3, **changes})


def snapshot(step: int, **extra: Any) -> Snapshot:
    return Snapshot(step, 0, "vit_digits", {"w": np.full(2, step, np.float32)}, {"s": np.zeros(1)}, {}, extra)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arch": "tnt_digits"}, "arch was vit_digits and is tnt_digits"),
        ({"optimizer": "momentum"}, "optimizer was adamw and is momentum"),
        ({"optimizer": "adam_weight_decay"}, "optimizer was adamw and is adam_weight_decay"),
        ({"num_classes": 4}, "num_classes was 3 and is 4"),
        ({"image_size": 16}, "image_size was 32 and is 16"),
        ({"amp_level": "O2"}, "amp_level was O0 and is O2"),
        ({"beta": [0.8, 0.99]}, r"decay rates of the optimizer was \[0.9, 0.999\] and is \[0.8, 0.99\]"),
        ({"ema": 0.9}, "ema was False and is True"),
    ],
    ids=str,
)
def test_a_change_that_makes_another_training_is_an_error(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    path = write_set(tmp_path, snapshot(4, fingerprint=fingerprint(recipe_of(), 10)))
    with pytest.raises(ResumeError, match=words) as caught:
        check_same_training(checked_set(path), fingerprint(recipe_of(**changes), 10))
    assert caught.value.exit_code == 2, "starting again would fail the same way"
    assert "--resume-as-pretrained" in caught.value.hint


def test_other_groups_of_decay_are_another_training(tmp_path: Path) -> None:
    path = write_set(tmp_path, snapshot(4, fingerprint=fingerprint(recipe_of(), 10)))
    with pytest.raises(ResumeError, match="number of parameters with weight decay was 10 and is 12"):
        check_same_training(checked_set(path), fingerprint(recipe_of(), 12))


@pytest.mark.parametrize(
    "changes",
    [{"base_lr": 1e-5}, {"epochs": 7}, {"batch_size": 64}, {"data_url": "elsewhere"}, {"seed": 4}],
    ids=str,
)
def test_other_changes_are_allowed(tmp_path: Path, changes: dict[str, object]) -> None:
    path = write_set(tmp_path, snapshot(4, fingerprint=fingerprint(recipe_of(), 10)))
    check_same_training(checked_set(path), fingerprint(recipe_of(**changes), 10))


def test_a_set_of_an_older_version_knows_its_architecture(tmp_path: Path) -> None:
    old = checked_set(write_set(tmp_path, snapshot(4)))
    check_same_training(old, fingerprint(recipe_of(optimizer="momentum"), 10))
    with pytest.raises(ResumeError, match="arch was vit_digits and is tnt_digits"):
        check_same_training(old, fingerprint(recipe_of(arch="tnt_digits"), 10))


@pytest.mark.parametrize(
    ("steps", "images", "index", "place", "words"),
    [
        (8, 32, 3, (2, 3, 19), ""),
        (8, 64, 3, (2, 0, 19), "a step had 64 images and has 32 now; epoch 3 starts"),
        (8, 64, 0, (2, 0, 16), ""),
        (4, 64, 3, (2, 0, 11), "an epoch had 4 steps and has 8 now; epoch 3 starts"),
    ],
)
def test_where_a_resumed_training_goes_on(
    steps: int, images: int, index: int, place: tuple[int, int, int], words: str
) -> None:
    at = Position(8)
    manifest = {"per_epoch": steps, "global_batch": images, "index": index, "epoch": 2, "offset": 0}
    note = at.continue_from({**manifest, "step": 2 * steps + index, "loss_sum": 1.5}, 32)
    assert note.startswith(words) and bool(note) == bool(words)
    assert (at.epoch, at.index, at.step) == place


HOLDER = """
import sys
from pathlib import Path
from vitmodels.training.rundirlock import RunDirLock
lock = RunDirLock(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_second_training_in_a_run_directory_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(RunDirBusy, match="another training uses"):
            RunDirLock(tmp_path)
        holder.kill()
        holder.wait()
    lock = RunDirLock(tmp_path)  # a killed process leaves no lock
    lock.release()
    RunDirLock(tmp_path).release()


def test_a_new_training_puts_the_old_one_aside(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / "metrics.jsonl").write_text(f"{number}\n")
        write_set(tmp_path / "checkpoints", snapshot(88))
        assert start_anew(tmp_path, snapshot(0)).name == f"checkpoints-{number}"
        newest, _ = newest_set(tmp_path / "checkpoints")
        assert newest is not None and newest.step == 0
    assert (tmp_path / "metrics-1.jsonl").read_text() == "1\n"
    for number in (1, 2):
        old, _ = newest_set(tmp_path / f"checkpoints-{number}")
        assert old is not None and old.step == 88


def test_a_start_that_was_killed_halfway_is_completed(tmp_path: Path) -> None:
    write_set(tmp_path / ".checkpoints.fresh", snapshot(0))
    write_set(tmp_path / "checkpoints", snapshot(88))
    finish_start(tmp_path)  # killed before anything was put aside: the old training is still there
    assert (tmp_path / "checkpoints" / "step-88").is_dir()
    (tmp_path / "checkpoints").rename(tmp_path / "checkpoints-1")
    finish_start(tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-0"]
