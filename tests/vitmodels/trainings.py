"""Training runs as processes: a scheduler and its ranks, in a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.servers.ports import free_port
from tests.waiting import PATIENCE_S, wait_until
from vitmodels.training.checkpoint import CheckpointSet, list_sets, newest_set

ROOT = Path(__file__).parents[2]
RECIPE = """
arch: vit_digits
num_classes: 2
image_size: 16
auto_augment: rand-m9-mstd0.5-inc1
re_prob: 0.25
num_parallel_workers: 1
optimizer: adamw
base_lr: 2e-3
lr_scale: none
warmup_length: 1
epochs: 4
batch_size: 8
drop_path: 0.2
drop_rate: 0.1
mix_up: 0.5
cutmix: 1.0
label_smoothing: 0.1
clip_global_norm_value: 1.0
save_every_steps: 3
keep_checkpoint_max: 50
seed: 7
"""


@dataclass
class Run:
    """The processes of one run: the scheduler, when there are several ranks, and the ranks."""

    folder: Path
    ranks: list[subprocess.Popen[str]]
    others: list[subprocess.Popen[str]] = field(default_factory=list)

    def wait(self) -> list[int]:
        codes = [rank.wait(500) for rank in self.ranks]
        for other in self.others:
            other.wait(PATIENCE_S)
        return codes

    def kill(self) -> None:
        for process in (*self.ranks, *self.others):
            process.kill()
            process.wait()

    def output(self, rank: int) -> str:
        return (self.folder / f"rank-{rank}.txt").read_text()

    def events(self, rank: int, kind: str) -> list[dict[str, object]]:
        lines = (self.folder / "progress" / f"rank-{rank}.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def newest(self) -> CheckpointSet:
        newest, skipped = newest_set(self.folder / "checkpoints")
        assert newest is not None
        assert skipped == []
        return newest


def start(
    folder: Path,
    data: Path,
    ranks: int = 1,
    *,
    cache: bool = True,
    options: tuple[str, ...] = (),
    **overrides: object,
) -> Run:
    """Start a run of `ranks` processes in `folder`. `cache`: compiled graphs are those of earlier runs of this module."""
    folder.mkdir(exist_ok=True)
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE)
    command = [
        sys.executable,
        "-m",
        "vitmodels.train",
        "--config",
        str(recipe),
        "--data",
        str(data),
        "--device",
        "cpu",
    ]
    command += options
    for key, value in overrides.items():
        command += ["--set", f"{key}={value}"]
    base = {**os.environ, "PYTHONPATH": str(ROOT), "LAUNCHER_RUN_DIR": str(folder), "RANK_SIZE": str(ranks)}
    if cache:
        base.setdefault("MS_COMPILER_CACHE_ENABLE", "1")
        base.setdefault("MS_COMPILER_CACHE_PATH", str(data.with_name("cache")))
    cluster = {"MS_SCHED_HOST": "127.0.0.1", "MS_SCHED_PORT": str(free_port()), "MS_WORKER_NUM": str(ranks)}

    def spawn(name: str, env: dict[str, str]) -> subprocess.Popen[str]:
        with (folder / f"{name}.txt").open("w") as log:
            return subprocess.Popen(
                command, env=env, cwd=folder, stdout=log, stderr=subprocess.STDOUT, text=True
            )

    run = Run(folder, [])
    if ranks > 1:
        run.others.append(spawn("scheduler", {**base, **cluster, "MS_ROLE": "MS_SCHED", "RANK_ID": "0"}))
    for rank in range(ranks):
        env = {**base, "RANK_ID": str(rank), "DEVICE_ID": str(rank)}
        if ranks > 1:
            env |= {**cluster, "MS_ROLE": "MS_WORKER", "MS_NODE_ID": str(rank)}
        run.ranks.append(spawn(f"rank-{rank}", env))
    return run


def wait_for_step(run: Run, step: int) -> None:
    """Return when a checkpoint of at least `step` is on disk."""
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        sets = list_sets(run.folder / "checkpoints")
        if sets and sets[-1].step >= step:
            return
        assert all(rank.poll() is None for rank in run.ranks), run.output(0)
        time.sleep(0.02)
    pytest.fail(f"no checkpoint of step {step}: {run.output(0)}")


def wait_for_event(run: Run, event: str, **fields: str) -> None:
    """Return when the first rank has reported such an event."""
    log = run.folder / "progress/rank-0.jsonl"

    def reported() -> bool:
        assert run.ranks[0].poll() is None, run.output(0)
        events = run.events(0, event) if log.exists() else []
        return any(all(one[key] == value for key, value in fields.items()) for one in events)

    wait_until(reported, lambda: run.output(0), 400)
