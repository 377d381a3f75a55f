"""Real MindSpore ranks, data parallel over nodes of the cluster, with input and output on S3."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.servers.s3 import S3Server
from tests.slurm.jobs import SlurmJobs
from vitmodels.digits import write_digits

ROOT = Path(__file__).parents[2]
PER_CLASS = {"train": 16, "val": 4}


@pytest.fixture(scope="module")
def few_digits(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """160 images to train on and 40 to test, in the store."""
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder / "all")
    client = s3.client()
    for split, count in PER_CLASS.items():
        for each in sorted((folder / "all" / split).iterdir()):
            for image in sorted(each.iterdir())[:count]:
                client.put_object(
                    Bucket="bucket", Key=f"few/{split}/{each.name}/{image.name}", Body=image.read_bytes()
                )
    shutil.rmtree(folder)
    return "s3://bucket/few"


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_training_over_two_nodes(ranks: int, few_digits: str, jobs: SlurmJobs) -> None:
    entry = jobs.submit(
        f"digits-2x{ranks}",
        model={
            "config": str(ROOT / "vitmodels" / "configs" / "tnt_digits.yaml"),
            "set": {
                "epochs": 1,
                "warmup_length": 0,
                "batch_size": 16 // ranks,
                "eval_batch_size": 40 // (2 * ranks),
            },
        },
        data={"url": few_digits, "cache_dir": str(jobs.cluster.disk / "cache")},
        resources={"devices_per_node": ranks},
        after={"eval": ranks == 1, "export": []},
    )
    view = jobs.end(entry)
    assert (view.state, view.reason) == ("SUCCEEDED", "")
    assert view.progress.step == 160 // 32
    hosts = [node.host for node in view.nodes]
    assert [len(node.ranks) for node in view.nodes] == [ranks, ranks]
    for host in hosts:
        staged = list((jobs.cluster.local_disk(host) / "cache").rglob("*.jpg"))
        assert len(staged) == 200, "once per node, whatever the number of ranks"
    names = jobs.names(entry)
    assert {f"logs/attempt-1/node-{k // ranks}/rank-{k}.log" for k in range(2 * ranks)} <= names
    assert any(name.startswith("checkpoints/step-5/") for name in names)
    assert json.loads(jobs.store(entry).read("state.json"))["state"] == "SUCCEEDED"
    jobs.nothing_is_left(entry)
