"""Fetching results: verified, resumable, nothing foreign overwritten."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launcher.errors import IntegrityError, NoSpace, NotFound, UsageError
from launcher.results.collector import Collector
from launcher.results.fetch import FetchProgress, fetch
from launcher.storage import ObjectStore, open_store
from tests.seeds import examples
from tests.servers.faults import Faults, cut, delay, flip_bit
from tests.servers.rundir import RunDir, tree
from tests.servers.s3 import S3Server
from tests.servers.stores import open_on


def finished(store: ObjectStore, folder: Path, *, commit: bool = True, size: int = 3000) -> RunDir:
    run = RunDir(folder)
    for step in (10, 20):
        run.checkpoint(step, size=size)
    run.best(10)
    run.append("metrics.jsonl", '{"epoch": 1}\n')
    run.append("logs/attempt-1/node-0/rank-0.log", "hello\n")
    run.write("eval/last.json", '{"top1": 0.9}')
    run.write("export/tiny.mindir", "model")
    store.put("job.yaml", b"name: x\n")
    collector = Collector(run.root, store, attempt=1)
    collector.sync(final=True)
    if commit:
        collector.commit({"run_id": "r-1"})
    return run


def test_everything_is_fetched_and_verified(store: ObjectStore, tmp_path: Path) -> None:
    run = finished(store, tmp_path / "run")
    seen: list[FetchProgress] = []
    report = fetch(store, tmp_path / "out", progress=seen.append)
    assert report.committed
    assert report.note == ""
    got = tree(tmp_path / "out")
    mine = {key: data for key, data in tree(run.root).items() if key != "upload.json"}
    assert {key: got[key] for key in mine} == mine
    assert set(got) - set(mine) == {"job.yaml", "checkpoints/LATEST", "MANIFEST.json"}
    assert (report.files, report.bytes) == (len(got), sum(map(len, got.values())))
    assert (seen[0].files_done, seen[-1].files_done) == (0, len(got))
    again = fetch(store, tmp_path / "out")
    assert again.reused == again.files == report.files


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ("eval", {"eval/last.json"}),
        ("export", {"export/tiny.mindir"}),
        ("logs", {"logs/attempt-1/node-0/rank-0.log"}),
        (
            "best",
            {"checkpoints/best.json"}
            | {f"checkpoints/step-10/{n}" for n in ("manifest.json", "part-0.bin", "part-1.bin")},
        ),
    ],
)
@pytest.mark.parametrize("commit", [True, False])
def test_parts(tmp_path: Path, only: str, expected: set[str], commit: bool) -> None:
    store = open_store(f"memory://{tmp_path.name}")
    finished(store, tmp_path / "run", commit=commit)
    report = fetch(store, tmp_path / "out", only=only)
    assert set(tree(tmp_path / "out")) == expected
    assert report.committed is commit
    fetch(store, tmp_path / "out")
    assert len(tree(tmp_path / "out")) > len(expected)


def test_bad_requests(tmp_path: Path) -> None:
    store = open_store(f"memory://{tmp_path.name}")
    with pytest.raises(UsageError, match="no such part"):
        fetch(store, tmp_path / "out", only="everything")
    with pytest.raises(NotFound):
        fetch(store, tmp_path / "out")
    store.put("job.yaml", b"")
    with pytest.raises(NotFound, match="no export results"):
        fetch(store, tmp_path / "out", only="export")
    assert not (tmp_path / "out").exists()


def test_a_target_that_is_a_file_is_a_mistake_of_usage(tmp_path: Path) -> None:
    store = open_store((tmp_path / "store").as_uri())
    finished(store, tmp_path / "run")
    (tmp_path / "file").write_text("mine")
    for target in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="can't be a folder to write to"):
            fetch(store, target)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_run_without_commit_gives_its_complete_sets(tmp_path: Path) -> None:
    store = open_store(f"memory://{tmp_path.name}")
    run = finished(store, tmp_path / "run", commit=False)
    store.put("checkpoints/step-30/part-0.bin", b"a set without a manifest")
    report = fetch(store, tmp_path / "out")
    assert not report.committed
    assert "not committed" in report.note
    got = tree(tmp_path / "out")
    assert not any(key.startswith("checkpoints/step-30") for key in got)
    assert {key for key in got if key.startswith("checkpoints/step")} == {
        key for key in tree(run.root) if key.startswith("checkpoints/step")
    }
    run.append("logs/attempt-1/node-0/rank-0.log", "more\n")
    run.write("eval/last.json", '{"top1": 0.95}')
    collector = Collector(run.root, store, attempt=1)
    collector.sync(final=True)
    collector.commit({})
    assert fetch(store, tmp_path / "out").committed
    assert tree(tmp_path / "out")["eval/last.json"] == b'{"top1": 0.95}', (
        "an earlier fetch's file is replaced"
    )


def test_nothing_of_the_user_is_overwritten(tmp_path: Path) -> None:
    store = open_store(f"memory://{tmp_path.name}")
    finished(store, tmp_path / "run")
    out = tmp_path / "out"
    (out / "eval").mkdir(parents=True)
    (out / "eval/last.json").write_text("my notes")
    with pytest.raises(UsageError) as caught:
        fetch(store, out)
    assert "eval/last.json" in str(caught.value)
    assert tree(out) == {"eval/last.json": b"my notes"}
    (out / "eval/last.json").unlink()
    fetch(store, out)
    (out / "eval/last.json").write_text("edited afterwards")
    store.delete("MANIFEST.json")
    with pytest.raises(UsageError):
        fetch(store, out)
    assert (out / "eval/last.json").read_text() == "edited afterwards"
    (out / "eval/last.json").unlink()
    (out / "eval/last.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="in the way"):
        fetch(store, out)
    assert not (tmp_path / "elsewhere").exists()


def test_two_runs_are_never_mixed(tmp_path: Path) -> None:
    one, two = open_store(f"memory://{tmp_path.name}/one"), open_store(f"memory://{tmp_path.name}/two")
    finished(one, tmp_path / "run1")
    finished(two, tmp_path / "run2")
    fetch(one, tmp_path / "out")
    with pytest.raises(UsageError, match="one"):
        fetch(two, tmp_path / "out")
    (tmp_path / "out/.launcher-fetch.json").write_text("torn")
    with pytest.raises(UsageError, match="ledger"):
        fetch(one, tmp_path / "out")


def test_a_file_that_already_has_the_right_content_is_welcome(tmp_path: Path) -> None:
    store = open_store(f"memory://{tmp_path.name}")
    finished(store, tmp_path / "run")
    (tmp_path / "out/eval").mkdir(parents=True)
    (tmp_path / "out/eval/last.json").write_text('{"top1": 0.9}')
    assert fetch(store, tmp_path / "out").reused == 1


def test_an_object_that_is_not_what_the_manifest_says(tmp_path: Path) -> None:
    store = open_store(f"memory://{tmp_path.name}")
    finished(store, tmp_path / "run")
    store.put("export/tiny.mindir", b"MODEL")
    with pytest.raises(IntegrityError) as caught:
        fetch(store, tmp_path / "out")
    assert "tiny.mindir" in str(caught.value)
    assert "export/tiny.mindir" not in tree(tmp_path / "out")


def test_a_log_that_grew_after_the_commit(tmp_path: Path) -> None:
    store = open_store(f"memory://{tmp_path.name}")
    finished(store, tmp_path / "run")
    log = "logs/attempt-1/node-0/rank-0.log"
    store.put(log, b"hello\nand more\n")
    fetch(store, tmp_path / "out")
    assert tree(tmp_path / "out")[log] == b"hello\n", "what was committed"
    store.put(log, b"HELLO\nand more\n")
    with pytest.raises(IntegrityError):
        fetch(store, tmp_path / "out2")


@pytest.mark.parametrize("bad", ["../../escape", "/abs", "a//b", "x/../y"])
def test_a_manifest_that_wants_out_is_refused(tmp_path: Path, bad: str) -> None:
    store = open_store(f"memory://{tmp_path.name}")
    entry = {"name": bad, "size": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    store.put("MANIFEST.json", json.dumps({"format": 1, "files": [entry]}).encode())
    with pytest.raises(IntegrityError):
        fetch(store, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_faults_on_the_way(faulty: ObjectStore, faults: Faults, tmp_path: Path) -> None:
    run = finished(faulty, tmp_path / "run")
    faults.add(flip_bit, path="part-0.bin", times=1)
    faults.add(cut, path="part-1.bin", times=2)
    fetch(faulty, tmp_path / "out")
    assert (
        tree(tmp_path / "out")["checkpoints/step-10/part-0.bin"]
        == tree(run.root)["checkpoints/step-10/part-0.bin"]
    )
    faults.add(flip_bit, path="part-0.bin")
    with pytest.raises(IntegrityError):
        fetch(faulty, tmp_path / "out2")
    assert "checkpoints/step-10/part-0.bin" not in tree(tmp_path / "out2")


def test_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    store = open_store(f"memory://{tmp_path.name}")
    finished(store, tmp_path / "run", size=1_200_000)
    with pytest.raises(NoSpace):
        fetch(store, small_disk / "out")
    for path in (small_disk / "out").rglob("*.bin"):
        assert path.stat().st_size == 1_200_000


FETCHER = """
import sys
from pathlib import Path
from launcher.results.fetch import fetch
from launcher.storage import open_store
print("ready", flush=True)
fetch(open_store(sys.argv[1]), Path(sys.argv[2]))
"""


def test_killed_at_random_moments_it_continues(
    radosgw: S3Server, faults: Faults, tmp_path: Path, rng: random.Random
) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint)
    finished(store, tmp_path / "run", size=200_000)
    faults.add(delay(0.05))
    expected = {info.key: store.read(info.key) for info in store.list()}
    for _ in range(examples(3, 30)):
        process = subprocess.Popen(
            [sys.executable, "-c", FETCHER, store.url, str(tmp_path / "out")],
            env={**os.environ, **radosgw.env, "AWS_ENDPOINT_URL_S3": faults.endpoint},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0.2, 0.9))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if (tmp_path / "out").exists():
            for key, data in tree(tmp_path / "out").items():
                assert data == expected[key]
    faults.clear()
    report = fetch(store, tmp_path / "out")
    got = tree(tmp_path / "out")
    assert got == {key: expected[key] for key in got}
    assert len(got) == report.files
    assert not any(path.name.startswith(".launcher-part") for path in (tmp_path / "out").rglob("*"))


def test_two_fetches_at_once(tmp_path: Path) -> None:
    from launcher.disk import locked

    store = open_store(f"memory://{tmp_path.name}")
    finished(store, tmp_path / "run")
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out/.launcher-fetch.lock"), pytest.raises(UsageError, match="another fetch"):
        fetch(store, tmp_path / "out")
