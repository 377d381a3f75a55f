"""Digits packed to a real S3 server and trained on in both forms: the same files, the same losses."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.process import Unavailable
from tests.servers.rundir import tree
from tests.servers.s3 import rclone_server
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SHORT = ["epochs=1", "warmup_length=0", "batch_size=16", "after.eval=false", "after.export=[]"]


def few_digits(folder: Path) -> Path:
    """Ten images of each digit to train on, two to test."""
    subprocess.run(
        [sys.executable, "-m", "vitmodels.digits", str(folder / "all")],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for split, count in (("train", 10), ("val", 2)):
        for label in range(10):
            target = folder / "few" / split / str(label)
            target.mkdir(parents=True)
            for file in sorted((folder / "all" / split / str(label)).iterdir())[:count]:
                shutil.copy(file, target)
    return folder / "few"


def test_packed_staged_and_trained_both_ways(tmp_path: Path) -> None:
    source = few_digits(tmp_path)
    home, served = tmp_path / "home", tmp_path / "served"
    (served / "bucket").mkdir(parents=True)
    try:
        with rclone_server(served) as server:
            env = {
                **os.environ,
                **server.env,
                "LAUNCHER_HOME": str(home),
                "LAUNCHER_LOCK_DIR": str(tmp_path / "locks"),
            }

            def launcher(*words: str) -> str:
                done = subprocess.run(
                    [sys.executable, "-m", "launcher", *words],
                    env=env,
                    cwd=ROOT,
                    capture_output=True,
                    text=True,
                    timeout=PATIENCE_S,
                    check=False,
                )
                assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
                return done.stdout

            def train(*more: str) -> list[dict]:
                sets = ["data.url=s3://bucket/packed", f"output.url={tmp_path / 'runs'}", *SHORT, *more]
                words = [word for each in sets for word in ("--set", each)]
                run_id = launcher("submit", "jobs/digits_vit_1p.yaml", "--follow", *words).strip()
                lines = (tmp_path / "runs" / run_id / "metrics.jsonl").read_text().splitlines()
                return [json.loads(line) for line in lines]

            launcher("pack", str(source), "s3://bucket/packed", "--shard-size", "30KB", "--jobs", "1")
            launcher("pack", "--verify", "s3://bucket/packed")
            unpacked = train()
            parts = train("data.placement=shard")
    except Unavailable as error:
        pytest.skip(f"NOT TESTED, no S3 server: {error}")
    homes = {
        "packed" if (path / "files" / "part.json").exists() else "folders": path / "files"
        for path in (home / "cache" / "datasets").iterdir()
        if path.is_dir()
    }
    assert tree(homes["folders"]) == tree(source)
    assert len(list((homes["packed"] / "shards").glob("train-*.tar"))) > 2
    assert not (homes["packed"] / "train").exists()
    assert [line["epoch"] for line in parts] == [line["epoch"] for line in unpacked] == [1]
    assert parts[0]["loss"] == pytest.approx(unpacked[0]["loss"], rel=1e-4)
