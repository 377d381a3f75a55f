"""Whether a checkpoint continues this training, and how another one starts in its place.

Some settings may change between two attempts: the learning rate, the target epoch, the data, the number of ranks.
Others would make the optimiser's state meaningless or another net. These are kept in every set as its fingerprint.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitmodels.config import Recipe
from vitmodels.errors import ResumeError
from vitmodels.nets.precision import level_here
from vitmodels.training.checkpoint import CheckpointSet, Snapshot, write_set

FRESH = ".checkpoints.fresh"
_WORDS = {
    "arch": "arch",
    "num_classes": "num_classes",
    "image_size": "image_size",
    "optimizer": "optimizer",
    "moments": "the decay rates of the optimizer",
    "decayed": "the number of parameters with weight decay",
    "amp_level": "amp_level",
    "ema": "ema",
}


def fingerprint(recipe: Recipe, decayed: int) -> dict[str, Any]:
    """What a resumed training must have in common with the one before; `decayed`: parameters with weight decay."""
    momentum = recipe.optimizer == "momentum"
    return {
        "arch": recipe.arch,
        "num_classes": recipe.num_classes,
        "image_size": recipe.side,
        "optimizer": recipe.optimizer,
        "moments": [recipe.momentum] if momentum else list(recipe.beta),
        "decayed": decayed,
        "amp_level": level_here(recipe.amp_level),
        "ema": recipe.ema > 0,
    }


def differences(manifest: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Sentences that name both values of each setting that differs. Older sets know their architecture only."""
    before = manifest.get("fingerprint") or {"arch": manifest["arch"]}
    return [
        f"{_WORDS[key]} was {before[key]} and is {now[key]}"
        for key in now
        if key in before and before[key] != now[key]
    ]


def check_same_training(checkpoint: CheckpointSet, now: Mapping[str, Any]) -> None:
    """Raises ResumeError when the checkpoint belongs to another training."""
    changes = differences(checkpoint.manifest, now)
    if changes:
        raise ResumeError(
            f"{checkpoint.path} belongs to another training: {'; '.join(changes)}",
            hint="undo the change, use a new run directory, or start anew from these weights with --resume-as-pretrained",
        )


def start_anew(run_dir: Path, first: Snapshot) -> Path:
    """Put the old checkpoints and metrics aside, and `first` in their place; returns where the checkpoints are now.

    A process that is killed in here leaves the old training or the new one, which `finish_start` completes.
    """
    fresh, folder = run_dir / FRESH, run_dir / "checkpoints"
    shutil.rmtree(fresh, ignore_errors=True)
    write_set(fresh, first)
    number = next(n for n in range(1, 10**6) if not (run_dir / f"checkpoints-{n}").exists())
    aside = run_dir / f"checkpoints-{number}"
    folder.rename(aside)
    finish_start(run_dir)
    if (run_dir / "metrics.jsonl").exists():
        (run_dir / "metrics.jsonl").rename(run_dir / f"metrics-{number}.jsonl")
    return aside


def finish_start(run_dir: Path) -> None:
    """Complete a `start_anew` that was killed after it had put the old checkpoints aside."""
    fresh, folder = run_dir / FRESH, run_dir / "checkpoints"
    if fresh.is_dir() and not folder.exists():
        fresh.rename(folder)
