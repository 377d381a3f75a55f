"""Fine-tuning by the recipe of its job file, on halves of the digits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from launcher.jobfile.load import load_job
from vitmodels.digits import write_digits
from vitmodels.nets.weightfiles import read_weights
from vitmodels.training.checkpoint import newest_set

ROOT = Path(__file__).parents[2]
SEVEN = "0123456"

pytestmark = [pytest.mark.system, pytest.mark.slow]


def half(digits: Path, data: Path, odd: int, classes: str) -> Path:
    """Every second training image of some classes, and all of their validation images."""
    for split, step in (("train", 2), ("val", 1)):
        for name in classes:
            folder = data / split / name
            folder.mkdir(parents=True)
            for image in sorted((digits / split / name).iterdir())[odd if step == 2 else 0 :: step]:
                (folder / image.name).hardlink_to(image)
    return data


def train(folder: Path, data: Path, recipe: dict[str, object]) -> Path:
    folder.mkdir()
    (folder / "recipe.json").write_text(json.dumps(recipe))
    words = ["--config", folder / "recipe.json", "--data", data, "--run-dir", folder, "--device", "cpu"]
    command = [sys.executable, "-m", "vitmodels.train", *map(str, words)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=False, env=env, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def top1(run: Path) -> float:
    return float(json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["top1"])


def weights(run: Path) -> Path:
    newest, _ = newest_set(run / "checkpoints")
    assert newest is not None
    return newest.path


@pytest.mark.timeout(1800)
def test_two_epochs_from_weights_reach_what_eight_from_scratch_do(tmp_path: Path) -> None:
    write_digits(tmp_path / "digits")
    before = half(tmp_path / "digits", tmp_path / "before", 0, SEVEN)
    after = half(tmp_path / "digits", tmp_path / "after", 1, SEVEN + "789")
    tuned = load_job(ROOT / "jobs" / "finetune_digits_1p.yaml", env={}).recipe
    fresh = load_job(ROOT / "jobs" / "digits_vit_1p.yaml", env={}).recipe
    assert tuned is not None and fresh is not None
    small = {"eval_every": 100, "keep_checkpoint_max": 1}
    first = train(tmp_path / "first", before, {**fresh.json_dict(), **small, "num_classes": 7, "epochs": 24})
    path = weights(first)
    second = train(tmp_path / "second", after, {**tuned.json_dict(), **small, "pretrained": str(path)})
    scratch = {**fresh.json_dict(), **small, "image_size": tuned.side, "epochs": 8}
    third = train(tmp_path / "third", after, scratch)
    assert top1(second) >= top1(third) > 0.3
    name = "patch_embed.proj.weight"
    old, new = (read_weights(next(one.glob("model*.safetensors"))).weights for one in (path, weights(second)))
    assert np.array_equal(old[name], new[name])
    assert not np.array_equal(old["blocks.0.attn.qkv.weight"], new["blocks.0.attn.qkv.weight"])
    assert (old["head.weight"].shape[0], new["head.weight"].shape[0]) == (7, 10)
