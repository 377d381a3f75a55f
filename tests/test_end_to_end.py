"""The main job for real: MindSpore ranks on scikit-learn's digits, input and output on a real S3 server.

One rank with batch 64 and two ranks with batch 32 each run the whole way, two epochs long.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.living import each_path
from tests.servers.process import Unavailable
from tests.servers.s3 import S3Server, rclone_server

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[1]
SHORT = ("--set", "epochs=2", "--set", "warmup_length=1")


@dataclass
class Machine:
    """A home for the launcher, on a machine that reaches the S3 server by its environment."""

    folder: Path
    server: S3Server

    def launcher(self, *words: str, timeout_s: float = 400.0) -> subprocess.CompletedProcess[str]:
        env = {
            **os.environ,
            **self.server.env,
            "LAUNCHER_HOME": str(self.folder),
            "LAUNCHER_LOCK_DIR": str(self.folder / "locks"),
        }
        command = [sys.executable, "-m", "launcher", *words]
        return subprocess.run(
            command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False
        )


@dataclass
class Done:
    view: dict
    results: Path
    node_log: str

    def lines(self, name: str) -> list[dict]:
        return [json.loads(line) for line in (self.results / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    bucket = tmp_path_factory.mktemp("s3") / "bucket"
    subprocess.run(
        [sys.executable, "-m", "vitmodels.digits", str(bucket / "digits")],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    try:
        with rclone_server(bucket.parent) as server:
            yield Machine(tmp_path_factory.mktemp("home"), server)
    except Unavailable as error:
        pytest.skip(f"NOT TESTED, no S3 server: {error}")


def run(machine: Machine, job: str, *more: str) -> Done:
    stores = ("--set", "data.url=s3://bucket/digits", "--set", "output.url=s3://bucket/runs")
    done = machine.launcher("submit", job, "--follow", *stores, *SHORT, *more)
    assert done.returncode == 0, f"{done.stderr}\n{machine.launcher('logs', 'last').stdout[-4000:]}"
    run_id = done.stdout.strip()
    target = machine.folder / "fetched" / run_id
    fetched = machine.launcher("fetch-results", run_id, "--to", str(target))
    assert fetched.returncode == 0, fetched.stderr
    view = json.loads(machine.launcher("status", run_id, "--json").stdout)
    log = (target / "logs" / "attempt-1" / "node-0" / "node.log").read_text()
    return Done(view, target, log)


@pytest.fixture(scope="module")
def one_rank(machine: Machine) -> Done:
    return run(machine, "jobs/digits_tnt_1p.yaml", "--set", "batch_size=64")


@pytest.fixture(scope="module")
def two_ranks(machine: Machine, one_rank: Done) -> Done:
    profile = ("--set", "profile.steps=3-5", "--set", "profile.ranks=[0,1]")
    words = ("--set", "batch_size=32", "--set", "after.eval=false", "--set", "after.export=[]", *profile)
    return run(machine, "jobs/digits_tnt_2p.yaml", *words)


def test_the_whole_way(one_rank: Done) -> None:
    assert one_rank.view["state"] == "SUCCEEDED"
    assert one_rank.view["url"].startswith("s3://bucket/runs/digits-tnt-1p-")
    results = one_rank.view["results"]
    assert set(results) == {"last", "checkpoint", "mindir"}
    assert results["last"] == results["checkpoint"] == results["mindir"]
    assert results["last"] > 0.3  # two epochs; chance is 0.1
    assert json.loads((one_rank.results / "eval" / "mindir.json").read_text())["images"] == 360
    assert (one_rank.results / "export" / "tnt_digits.mindir").stat().st_size > 100_000


@pytest.mark.slow
def test_the_profiles_of_both_ranks_are_results(machine: Machine, two_ranks: Done) -> None:
    folder = two_ranks.results / "profile" / "node-0"
    assert sorted(path.name for path in folder.iterdir()) == [
        "rank-0",
        "rank-0.json",
        "rank-1",
        "rank-1.json",
    ]
    summary = json.loads((folder / "rank-1.json").read_text())
    assert (summary["rank"], summary["steps"], summary["device"]) == (1, [3, 5], "CPU")
    assert json.loads((folder / "rank-1" / "trace_view.json").read_text())["traceEvents"]
    text = machine.launcher("status", two_ranks.view["run_id"]).stdout
    assert f"rank 1, steps 3 to 5: {summary['operators'][0]['type']} " in text


def test_every_file_that_was_fetched_is_in_the_manifest(one_rank: Done) -> None:
    names = {entry["name"] for entry in json.loads((one_rank.results / "MANIFEST.json").read_text())["files"]}
    fetched = {
        str(path.relative_to(one_rank.results))
        for path in one_rank.results.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    assert {"metrics.jsonl", "export/tnt_digits.mindir", "eval/checkpoint.json"} <= names
    assert fetched - names <= {
        "MANIFEST.json",
        "checkpoints/LATEST",
        "job.yaml",
        "plan.json",
        "record.json",
        "state.json",
    }


def test_the_second_run_uses_the_staged_data_of_the_first(one_rank: Done, two_ranks: Done) -> None:
    assert re.search(r"staged 179\d files", one_rank.node_log)
    assert "already here" not in one_rank.node_log
    assert "already here" in two_ranks.node_log


def test_two_ranks_learn_what_one_rank_learns_with_the_doubled_batch(one_rank: Done, two_ranks: Done) -> None:
    alone, together = one_rank.lines("metrics.jsonl"), two_ranks.lines("metrics.jsonl")
    assert [row["step"] for row in together] == [row["step"] for row in alone]
    assert [row["loss"] for row in together] == pytest.approx([row["loss"] for row in alone], rel=1e-4)
    assert two_ranks.view["results"]["last"] == pytest.approx(one_rank.view["results"]["last"], abs=0.006)


def test_two_ranks_are_two_processes_with_logs_of_their_own(two_ranks: Done) -> None:
    logs = {path.name for path in (two_ranks.results / "logs" / "attempt-1" / "node-0").iterdir()}
    assert {"node.log", "rank-0.log", "rank-1.log", "scheduler.log"} <= logs
    assert [rank["rank"] for rank in two_ranks.view["nodes"][0]["ranks"]] == [0, 1]


def test_no_secret_is_left_anywhere(machine: Machine, one_rank: Done, two_ranks: Done) -> None:
    secret = machine.server.secret_key.encode()
    leaks = each_path(lambda path: path.is_file() and secret in path.read_bytes(), machine.folder)
    assert [path for path, leaks_here in leaks if leaks_here] == []
