"""What is trained in a campaign: a counter, or a small net on the digits."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults.run import MOMENTS

ROOT = Path(__file__).resolve().parents[2]
COUNTER = ROOT / "tests" / "programs" / "counter.py"
IMAGES = (("train", 192), ("val", 64))


@dataclass(frozen=True)
class Program:
    """What is trained: the counter program of the tests, or the digits for real. `data` is a folder in the bucket."""

    name: str
    job: dict[str, Any]
    disk_mb: int
    moments: tuple[str, ...] = MOMENTS
    data: str = ""


def counter_program() -> Program:
    """Quick: six seconds a run."""
    env = {"STEPS": "20", "STEP_S": "0.1", "SCHEDULER": "stays"}
    job = {"program": [sys.executable, str(COUNTER)], "env": env}
    return Program("counter", job, 2, ("start", "training", "saving", "uploading"))


def digits_program(bucket: Path, cache: Path) -> Program:
    """A small ViT on 192 images: 4 epochs of 3 steps, saved every second step.

    The graphs are compiled once for all runs, into `cache`: half of the time of a run.
    """
    changes = {
        "epochs": 4,
        "batch_size": 32,
        "eval_batch_size": 64,
        "save_every_steps": 2,
        "keep_checkpoint_max": 20,
    }
    job = {
        "model": {"config": str(ROOT / "vitmodels" / "configs" / "vit_digits.yaml"), "set": changes},
        "data": {"url": str(make_images(bucket / "digits"))},
        "env": {"MS_COMPILER_CACHE_ENABLE": "1", "MS_COMPILER_CACHE_PATH": str(cache)},
    }
    return Program("digits", job, 200, data="digits")


def make_images(folder: Path) -> Path:
    """Some images of the digits, as many of each class, in `folder`."""
    if folder.exists():
        return folder
    whole, half = folder.with_name("all"), folder.with_name("half")
    subprocess.run(
        [sys.executable, "-m", "vitmodels.digits", str(whole)],
        check=True,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    for part, count in IMAGES:
        by_class = [sorted(each.iterdir()) for each in sorted((whole / part).iterdir())]
        ordered = [path for row in zip(*by_class, strict=False) for path in row][:count]
        for path in ordered:
            target = half / part / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    shutil.rmtree(whole)
    return half.rename(folder)
