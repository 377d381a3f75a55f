"""The evaluation program on a trained run: the same figures from a checkpoint as training saw, at one and two ranks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.waiting import PATIENCE_S
from vitmodels.recipe_file import load_recipe
from vitmodels.training.checkpoint import Snapshot, write_set

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
RECIPE = (
    "arch: vit_digits\nnum_classes: 3\nimage_size: 16\ntrain_crop: resize\ncrop_pct: 1.0\nbatch_size: 4\n"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a recipe, 13 images, and a checkpoint whose net answers with the head's bias alone."""
    from vitmodels.archs import ARCHS
    from vitmodels.nets.shapes import expected_shapes

    folder = tmp_path_factory.mktemp("run")
    (folder / "recipe.yaml").write_text(RECIPE)
    for split, counts in (("train", (1, 1, 1)), ("val", (6, 4, 3))):
        for label, count in enumerate(counts):
            (folder / "data" / split / f"c{label}").mkdir(parents=True)
            for index in range(count):
                Image.fromarray(np.full((16, 16, 3), 10 * index, np.uint8)).save(
                    folder / "data" / split / f"c{label}" / f"{index}.png"
                )
    recipe = load_recipe(folder / "recipe.yaml")
    shapes = expected_shapes(ARCHS[recipe.arch].resized(16), 3)
    weights = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    weights["head.bias"] = np.array([0.0, 2.0, 1.0], np.float32)
    averaged = {f"ema.{name}": value for name, value in weights.items()}
    averaged["ema.head.bias"] = np.array([2.0, 0.0, 1.0], np.float32)
    write_set(folder / "checkpoints", Snapshot(5, 1, recipe.arch, weights, {"trainer": np.zeros(2)}))
    write_set(
        folder / "checkpoints", Snapshot(7, 2, recipe.arch, weights, {"trainer": np.zeros(2), **averaged})
    )
    return folder


def start(run: Path, env: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "vitmodels.evaluate",
        "--config",
        str(run / "recipe.yaml"),
        "--data",
        str(run / "data"),
    ]
    command += ["--run-dir", str(run), "--device", "cpu", *arguments]
    full = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.Popen(
        command, env=full, cwd=run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def result(run: Path) -> dict[str, object]:
    return dict(json.loads((run / "eval" / "checkpoint.json").read_text()))


def test_two_ranks_count_every_image_once(run: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    cluster = {"MS_SCHED_HOST": "127.0.0.1", "MS_SCHED_PORT": port, "MS_WORKER_NUM": "2", "RANK_SIZE": "2"}
    ranks = [
        start(run, {**cluster, "MS_ROLE": "MS_WORKER", "MS_NODE_ID": str(rank), "RANK_ID": str(rank)})
        for rank in (0, 1)
    ]
    scheduler = start(run, {**cluster, "MS_ROLE": "MS_SCHED", "RANK_ID": "0"})
    outputs = [rank.communicate(timeout=PATIENCE_S) for rank in (*ranks, scheduler)]
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
    found = result(run)
    assert (found["images"], found["step"], found["epoch"]) == (13, 7, 2)
    assert found["top1"] == pytest.approx(6 / 13)  # the averaged weights answer class 0
    assert (found["parameters"], found["skipped"]) == ("ema", [])
    assert found["top5"] == 1.0
    assert outputs[0][1] == outputs[1][1] == outputs[1][0] == ""


def named(run: Path, folder: Path, classes: list[str]) -> Path:
    """A copy of the run without training images, whose newest set knows its classes and answers class 1."""
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("eval", "train"))
    manifest = folder / "checkpoints" / "step-7" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "classes": classes}))
    return folder


@pytest.mark.parametrize("gone", ["c0", "c1", pytest.param("c2", marks=pytest.mark.slow)])
def test_a_validation_set_that_lacks_a_class_is_scored_by_name(run: Path, tmp_path: Path, gone: str) -> None:
    folder = named(run, tmp_path / "run", ["c2", "c1", "c0"])  # the averaged weights answer output 0: c2
    shutil.rmtree(folder / "data" / "val" / gone)
    (folder / "data" / "val" / "c1" / "notes.txt").parent.mkdir(exist_ok=True)
    (folder / "data" / "val" / "c1" / "notes.txt").write_text("words")
    process = start(folder, {})
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    found = result(folder)
    images = 13 - {"c0": 6, "c1": 4, "c2": 3}[gone]
    assert found["images"] == images
    assert found["top1"] == pytest.approx((0 if gone == "c2" else 3) / images)
    facts = found["data"]
    assert isinstance(facts, dict)
    assert facts["missing_classes"] == ([] if gone == "c1" else [gone])
    assert facts["empty_classes"] == (["c1"] if gone == "c1" else [])
    assert (facts["left_out"], facts["labels_by"]) == ({".txt": 1}, "names")
    assert found["classes"] == ["c2", "c1", "c0"]
    assert (
        f"warning: val: {'1 class folder without images' if gone == 'c1' else 'no folder for 1 of 3'}"
        in output
    )
    process = start(folder, {}, "--strict")
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert gone in errors and "leave out --strict" in errors and "Traceback" not in errors


def test_folders_of_other_data_are_left_out_or_an_error(run: Path, tmp_path: Path) -> None:
    folder = named(run, tmp_path / "run", ["c0", "c1", "x"])
    process = start(folder, {})
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    found = result(folder)
    assert (found["images"], found["top1"]) == (10, pytest.approx(6 / 10))
    assert "1 class folder that the net does not know: c2; left out with their images, 3" in output
    named(run, tmp_path / "other", ["x", "y", "z"])
    process = start(tmp_path / "other", {})
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "none of the 3 class folders of" in errors and "folders c0, c1, c2; classes x, y, z" in errors


def test_unreadable_images_are_named_in_the_result(run: Path, tmp_path: Path) -> None:
    folder = named(run, tmp_path / "run", ["c0", "c1", "c2"])
    (folder / "data" / "val" / "c1" / "bad.png").write_bytes(b"no image")
    process = start(folder, {})
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    found = result(folder)
    assert (found["images"], found["unreadable"], found["unreadable_files"]) == (14, 1, ["c1/bad.png"])
    assert "c1/bad.png: no image format that Pillow knows" in output


def test_an_older_checkpoint_can_be_named(run: Path) -> None:
    process = start(run, {}, "--checkpoint", str(run / "checkpoints" / "step-5"))
    output = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output
    assert result(run)["step"] == 5
    assert result(run)["top1"] == pytest.approx(4 / 13)
    assert result(run)["file"] == "checkpoints/step-5"


def test_a_checkpoint_that_is_not_there_is_one_message(run: Path) -> None:
    process = start(run, {}, "--checkpoint", "best")
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "names no checkpoint" in errors
    assert "Traceback" not in errors


def test_a_damaged_newest_checkpoint_is_an_error_or_named_in_the_result(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("eval"))
    model = folder / "checkpoints" / "step-7" / "model.safetensors"
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    process = start(folder, {})
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "the newest checkpoint is damaged" in errors and "--allow-older uses step-5" in errors
    assert "Traceback" not in errors and not (folder / "eval").exists()
    process = start(folder, {}, "--allow-older")
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert errors.startswith("warning: step-7 is skipped: ") and errors.count("\n") == 1
    found = result(folder)
    assert (found["step"], found["parameters"], found["top1"]) == (5, "raw", pytest.approx(4 / 13))
    assert [one["checkpoint"] for one in found["skipped"]] == ["step-7"]  # type: ignore[attr-defined]


def test_raw_weights_of_a_training_that_kept_an_average(run: Path, tmp_path: Path) -> None:
    process = start(run, {}, "--parameters", "raw", "--checkpoint", "step-7", "--run-dir", str(tmp_path))
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1, "the step is looked for in the run directory that is named"
    assert "there is no checkpoint step-7" in errors
    process = start(run, {}, "--parameters", "raw", "--checkpoint", "step-7")
    output = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output
    assert (result(run)["top1"], result(run)["parameters"]) == (pytest.approx(4 / 13), "raw")


def test_ctrl_c_while_images_are_scored_is_one_line_and_exit_code_130(run: Path, tmp_path: Path) -> None:
    """Counting that never ends, once the first batch has gone through the compiled net."""
    code = (
        "import sys, time\n"
        "from vitmodels.program import watch_interrupts\n"
        "watch_interrupts()\n"  # as the program does before numpy starts its threads
        "import vitmodels.accuracy\n"
        "def count(*_):\n"
        "    print('counting', flush=True)\n"
        "    while True:\n"
        "        time.sleep(0.01)\n"
        "vitmodels.accuracy.hits = count\n"
        "from vitmodels.evaluate import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("eval"))
    words = ["--data", str(run / "data"), "--run-dir", str(tmp_path / "run"), "--device", "cpu"]
    with subprocess.Popen(
        [sys.executable, "-c", code, "--config", str(run / "recipe.yaml"), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "val: 13 images of 3 classes\n"
        assert process.stdout.readline() == "counting\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (130, "interrupted\n")
    assert not (tmp_path / "run" / "eval").exists()
