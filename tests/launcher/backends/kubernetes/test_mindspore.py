"""Real MindSpore ranks, data parallel over two pods."""

import os
import shutil
from pathlib import Path

import pytest

from launcher.api import Run
from launcher.runfolder.states import State
from launcher.runs.index import Index
from launcher.submission.launch import submit
from launcher.submission.prepare import prepare
from tests.fakes.kubernetes_cluster import FakeCluster
from tests.launcher.backends.kubernetes.flows import ROOT, ended, job, until
from vitmodels.digits import write_digits

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FEW = {"train": 16, "val": 4}
"""Images of each class."""
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
"""Of kernels that were compiled on this machine, which an image may have, too."""


def write_few(folder: Path) -> Path:
    """160 images to train on and 40 to test."""
    write_digits(folder / "all")
    for split, count in FEW.items():
        for each in sorted((folder / "all" / split).iterdir()):
            (folder / "few" / split / each.name).mkdir(parents=True)
            for image in sorted(each.iterdir())[:count]:
                shutil.copy(image, folder / "few" / split / each.name)
    return folder / "few"


def test_training_in_two_pods_and_its_results(cluster: FakeCluster, tmp_path: Path) -> None:
    recipe = {"epochs": 1, "warmup_length": 0, "batch_size": 16, "eval_batch_size": 20}
    sections = {
        "program": None,
        "task": "train",
        "model": {"config": str(ROOT / "vitmodels/configs/tnt_digits.yaml"), "set": recipe},
        "data": {"url": str(write_few(tmp_path)), "cache_dir": str(tmp_path / "cache")},
        "after": {"eval": True, "export": []},
    }
    kernels = CACHE / "vitmodels"
    kernels.mkdir(parents=True, exist_ok=True)
    env = {"XDG_CACHE_HOME": str(CACHE)}
    entry = submit(prepare(job(tmp_path, cluster, 2, env=env, places=[kernels], **sections)), Index())
    until(entry, lambda seen: seen.progress and seen.progress.step)
    found = ended(entry)
    assert (found.state, found.reason) == (State.SUCCEEDED, "")
    assert found.progress
    assert found.progress.step == 160 // 32
    assert [len(node.ranks) for node in found.nodes] == [1, 1]
    Run(entry, Index()).fetch(tmp_path / "results")
    assert list((tmp_path / "results" / "checkpoints").glob("step-5/manifest.json"))
    assert list((tmp_path / "results" / "eval").glob("*.json"))
    logs = {info.key for info in entry.store.open().list("logs/attempt-1/")}
    assert {f"logs/attempt-1/node-{node}/rank-{node}.log" for node in (0, 1)} <= logs
