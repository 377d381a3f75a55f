"""The table "their command, here" of the README: every command in it is typed here, on a small net and a few images."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
BEGIN = "| their command | here |"
RECIPE = "arch: vit_digits\nnum_classes: 2\nimage_size: 16\ntrain_crop: resize\nbatch_size: 2\nepochs: 1\nlr_scale: none\n"


def table() -> list[tuple[str, str]]:
    """(seed's command, ours) of each row."""
    text = (ROOT / "README.md").read_text()
    rows = text[text.index(BEGIN) :].split("\n\n")[0].splitlines()[2:]
    cells = [re.findall(r"`([^`]+)`", row) for row in rows]
    assert all(len(cell) == 2 for cell in cells), "a row is a command of the seed and one of ours"
    return [(seed, ours) for seed, ours in cells]


def test_every_command_of_both_seeds_has_a_row() -> None:
    seeds = [seed for seed, _ in table()]
    programs = [
        "python train.py --device_id 0 --device_target Ascend --tnt_config",
        "run_standalone_train_ascend.sh",
        "run_distribute_train_ascend.sh",
        "python eval.py --device_id 0 --device_target Ascend --tnt_config",
        "run_eval_ascend.sh",
        "python export.py --pretrained",
        "run_infer_310.sh",
        "python train.py --device_id=0",
        "run_train.sh",
        "python eval.py --checkpoint_path ./ckpt_0",
        "run_eval.sh",
    ]
    for words in programs:
        assert [seed for seed in seeds if words in seed], words


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a user types: a recipe, images, and a job file for each number of devices."""
    pytest.importorskip("mindspore")
    root = tmp_path_factory.mktemp("seeds")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in ("a", "b"):
            (root / "data" / split / label).mkdir(parents=True)
            for index in range(4):
                pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
                Image.fromarray(pixels).save(root / "data" / split / label / f"{index}.png")
    (root / "recipe.yaml").write_text(RECIPE)
    return root


def run(folder: Path, command: str, cwd: Path | None = None) -> str:
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "LAUNCHER_HOME": str(folder / "home")}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    env |= {"MS_COMPILER_CACHE_ENABLE": "1", "MS_COMPILER_CACHE_PATH": str(folder / "cache")}
    done = subprocess.run(words, cwd=cwd or folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def ours(seed: str) -> str:
    """Our command for a seed's, with the test's small files in place of those that a user has."""
    [command] = {ours for theirs, ours in table() if seed in theirs}
    small = {
        "vitmodels/configs/tnt_s_patch16_224.yaml": "recipe.yaml",
        "vitmodels/configs/vit_base_patch16_224.yaml": "recipe.yaml",
        "imagenet": "data",
        "--device ascend": "--device cpu",
    }
    for word, replacement in small.items():
        command = command.replace(word, replacement)
    return command


@pytest.mark.slow
def test_train_evaluate_export_infer(folder: Path) -> None:
    run(folder, ours("python train.py --device_id 0 --device_target Ascend --tnt_config"))
    [step] = (folder / "run" / "checkpoints").glob("step-*")
    (folder / "ckpt_0").mkdir()
    run(folder, "python -m vitmodels.convert run ckpt_0/tnt_s_patch16_224.ckpt")
    assert "top1" in run(folder, ours("python eval.py --device_id 0"))
    found = json.loads((folder / "eval" / "checkpoint.json").read_text())
    trained = json.loads((folder / "run" / "eval" / "last.json").read_text())
    assert (found["top1"], found["images"]) == (trained["top1"], 8)
    assert found["file"] == "ckpt_0/tnt_s_patch16_224.ckpt"
    assert run(folder, ours("run_eval_ascend.sh")) == run(folder, ours("python eval.py --checkpoint_path"))
    run(folder, ours("python export.py --pretrained"))
    assert (folder / "export" / "vit_digits.mindir").is_file()
    command = ours("run_infer_310.sh").replace("tnt_s_patch16_224.mindir", "vit_digits.mindir")
    assert f"Top1 acc: {trained['top1']:.5f}" in run(folder, command)
    assert step.is_dir()


@pytest.mark.parametrize(
    "seed", ["run_standalone_train_ascend.sh", "run_distribute_train_ascend.sh", "scripts/run_train.sh"]
)
def test_scripts_for_several_devices_are_job_files(folder: Path, seed: str) -> None:
    command = ours(seed)
    assert command.startswith("launcher submit jobs/")
    job = ROOT / shlex.split(command)[2]
    assert job.is_file()
    assert run(folder, f"{command} --dry-run", cwd=ROOT)


def test_the_first_command_of_the_vit_base_seed(folder: Path) -> None:
    command = ours("python train.py --device_id=0").replace("--run-dir run", "--run-dir run-vit")
    run(folder, command)
    assert (folder / "run-vit" / "eval" / "last.json").is_file()
