"""Collecting: what is complete goes up, in an order that is safe at every moment, and the later attempt wins."""

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

from launcher.errors import IntegrityError, StoreError, StoreRefused, StoreUnreachable
from launcher.results import files as uploads
from launcher.results.collector import Collector
from launcher.results.restore import drop_earlier, restore_latest
from launcher.runfolder.manifest import parse_manifest, parse_set_manifest
from launcher.runfolder.sets import read_latest, remote_sets
from launcher.storage import ObjectStore, open_store
from tests.seeds import examples
from tests.servers.faults import Faults, flip_bit, reset, status
from tests.servers.rundir import RunDir, tree
from tests.servers.s3 import S3Server
from tests.servers.stores import open_on


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


@pytest.fixture
def memory(tmp_path: Path) -> ObjectStore:
    return open_store(f"memory://{tmp_path.name}/runs/r-1")


def check_sets(store: ObjectStore) -> None:
    """The promise to a reader at any moment: each set with a manifest is whole, and LATEST names such a one."""
    steps = set()
    for step, names in remote_sets(store).items():
        if "manifest.json" in names:
            manifest = parse_set_manifest(store.read(f"checkpoints/step-{step}/manifest.json"), "")
            for entry in manifest.files:
                data = store.read(f"checkpoints/step-{step}/{entry.key}")
                assert hashlib.sha256(data).hexdigest() == entry.sha256
            steps.add(step)
    latest = read_latest(store)
    assert latest is None or latest.step in steps


def test_a_whole_run(store: ObjectStore, run: RunDir, tmp_path: Path) -> None:
    collector = Collector(run.root, store, attempt=1)
    first = collector.sync()
    assert (first.uploaded, first.bytes, first.latest_step, first.complete) == ((), 0, None, True)
    run.checkpoint(10)
    run.checkpoint(20)
    run.best(10)
    run.append("metrics.jsonl", '{"epoch": 1}\n')
    run.append("logs/attempt-1/node-0/rank-0.log", "hello\n")
    run.write("eval/last.json", '{"top1": 0.9}')
    (run.root / "export").mkdir()
    (run.root / "export/.tiny.mindir.tmp").write_bytes(b"unfinished")
    (run.root / "checkpoints/.tmp-step-35-9").mkdir()
    report = collector.sync()
    assert report.complete
    assert report.latest_step == 20
    check_sets(store)
    assert read_latest(store).path == "checkpoints/step-20"  # type: ignore[union-attr]
    keys = {info.key for info in store.list()}
    assert not any("tmp" in key for key in keys)
    assert {
        "metrics.jsonl",
        "eval/last.json",
        "logs/attempt-1/node-0/rank-0.log",
        "checkpoints/best.json",
    } <= keys
    again = collector.sync()
    assert (again.uploaded, again.bytes, again.safe) == ((), 0, report.safe)
    run.checkpoint(30)
    run.checkpoint(40)
    run.drop(20)
    report = collector.sync(final=True)
    assert report.removed_steps == (20,)
    assert sorted(remote_sets(store)) == [10, 30, 40]
    store.put("job.yaml", b"name: x\n")
    store.put("state.json", b'{"attempt": 1}')
    manifest = collector.commit({"run_id": "r-1", "state": "SUCCEEDED"})
    assert parse_manifest(store.read("MANIFEST.json"), "") == manifest
    assert manifest.run["run_id"] == "r-1"
    held = {info.key for info in store.list()}
    assert {each.key for each in manifest.files} == held - {
        "MANIFEST.json",
        "state.json",
        "manifests/node-0.json",
    }
    for each in manifest.files:
        data = store.read(each.key)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (each.size, each.sha256)
    assert restore_latest(store, tmp_path / "elsewhere") == 40
    restored = tree(tmp_path / "elsewhere")
    assert restored == {
        key: data
        for key, data in tree(run.root).items()
        if key.startswith(("checkpoints/step-40", "checkpoints/step-10", "checkpoints/best", "metrics"))
    }


def test_nothing_new_asks_the_store_nothing(faulty: ObjectStore, faults: Faults, run: RunDir) -> None:
    run.checkpoint(10)
    run.append("metrics.jsonl", "x\n")
    collector = Collector(run.root, faulty, attempt=1)
    collector.sync()
    faults.clear()
    collector.sync()
    assert faults.seen == []


def test_the_ledger_outlives_the_program(faulty: ObjectStore, faults: Faults, run: RunDir) -> None:
    run.checkpoint(10)
    Collector(run.root, faulty, attempt=1).sync()
    faults.clear()
    report = Collector(run.root, faulty, attempt=1).sync()
    assert report.uploaded == ()
    assert report.latest_step == 10
    assert faults.count("PUT") == 0
    (run.root / "upload.json").write_text("{ torn")
    report = Collector(run.root, faulty, attempt=1).sync()
    assert faults.count("PUT", "part-") == 0, "the store already holds this very set"
    assert report.complete


def test_a_ledger_of_another_store_does_not_count(run: RunDir, tmp_path: Path) -> None:
    run.checkpoint(10)
    Collector(run.root, open_store(f"memory://{tmp_path.name}-a"), attempt=1).sync()
    other = open_store(f"memory://{tmp_path.name}-b")
    assert Collector(run.root, other, attempt=1).sync().uploaded == ("checkpoints/step-10",)


def test_what_vanished_from_the_store_is_sent_again(memory: ObjectStore, run: RunDir) -> None:
    run.checkpoint(10)
    run.write("eval/last.json", "{}")
    collector = Collector(run.root, memory, attempt=1)
    collector.sync(final=True)
    memory.delete("checkpoints/step-10/part-1.bin")
    memory.delete("eval/last.json")
    manifest = collector.commit({})
    check_sets(memory)
    assert {"eval/last.json", "checkpoints/step-10/part-1.bin"} <= {each.key for each in manifest.files}
    memory.delete("checkpoints/step-10/manifest.json")
    Collector(run.root, memory, attempt=2).sync()
    check_sets(memory)
    assert sorted(remote_sets(memory)) == [10]


def test_growing_files_are_sent_as_they_are(
    memory: ObjectStore, run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = "logs/attempt-1/node-0/rank-0.log"
    collector = Collector(run.root, memory, attempt=1)
    run.append(log, "one\n")
    collector.sync()
    run.append(log, "two\n")
    monkeypatch.setattr(uploads, "GROWING_BYTES_PER_S", 1 << 60)
    assert collector.sync().uploaded == (log,)
    assert memory.read(log) == b"one\ntwo\n"
    monkeypatch.setattr(uploads, "GROWING_BYTES_PER_S", 1)
    run.append(log, "three\n")
    assert collector.sync().uploaded == (), "a big log must not eat the line"
    assert collector.sync(final=True).uploaded == (log,)
    monkeypatch.setattr(uploads, "SMALL_BYTES", 4)
    run.append(log, "four\n")
    collector.sync(final=True)
    assert memory.read(log) == b"one\ntwo\nthree\nfour\n"


def test_metrics_that_were_cut_back_on_resume(memory: ObjectStore, run: RunDir) -> None:
    collector = Collector(run.root, memory, attempt=1)
    run.write("metrics.jsonl", "1\n2\n3\n")
    collector.sync()
    run.write("metrics.jsonl", "1\n")
    collector.sync(final=True)
    assert memory.read("metrics.jsonl") == b"1\n"


def test_the_best_set_and_the_newest_stay(memory: ObjectStore, run: RunDir) -> None:
    collector = Collector(run.root, memory, attempt=1)
    run.checkpoint(10)
    run.best(10)
    collector.sync()
    run.checkpoint(20)
    run.checkpoint(30)
    collector.sync()
    run.drop(20)
    run.best(30)
    run.drop(10)
    report = collector.sync()
    assert report.removed_steps == (10, 20)
    assert sorted(remote_sets(memory)) == [30]


def test_the_set_that_latest_names_is_not_removed(memory: ObjectStore, run: RunDir) -> None:
    """The program dropped the sets that best.json and LATEST name; what replaces them can't be uploaded."""
    collector = Collector(run.root, memory, attempt=1)
    for step in (10, 20):
        run.checkpoint(step)
    run.best(10)
    collector.sync()
    for step in (30, 40):
        (run.checkpoint(step) / "part-0.bin").write_bytes(b"x" * 2000)
    run.best(30)
    run.drop(10)
    run.drop(20)
    report = collector.sync()
    assert (report.latest_step, report.removed_steps) == (20, ())
    assert json.loads(memory.read("checkpoints/best.json"))["step"] == 10
    assert {each.key for each in report.pending} == {
        "checkpoints/step-30",
        "checkpoints/step-40",
        "checkpoints/best.json",
    }
    check_sets(memory)
    run.checkpoint(30)
    run.checkpoint(40)
    assert collector.sync().removed_steps == (10, 20)
    check_sets(memory)


def test_a_lost_disk_does_not_empty_the_store(memory: ObjectStore, run: RunDir) -> None:
    collector = Collector(run.root, memory, attempt=1)
    for step in (10, 20, 30):
        run.checkpoint(step)
    collector.sync()
    for step in (10, 20, 30):
        run.drop(step)
    assert collector.sync(final=True).removed_steps == ()
    run.checkpoint(5)
    assert collector.sync(final=True).removed_steps == ()
    assert sorted(remote_sets(memory)) == [5, 10, 20, 30]
    check_sets(memory)


def test_a_damaged_set_is_never_uploaded(memory: ObjectStore, run: RunDir) -> None:
    collector = Collector(run.root, memory, attempt=1)
    run.checkpoint(10)
    folder = run.checkpoint(20)
    data = bytearray((folder / "part-1.bin").read_bytes())
    data[77] ^= 1
    (folder / "part-1.bin").write_bytes(data)
    report = collector.sync()
    assert [each.key for each in report.pending] == ["checkpoints/step-20"]
    assert report.latest_step == 10
    check_sets(memory)
    with pytest.raises(StoreError) as caught:
        collector.sync(final=True, budget_s=0.1)
    assert "checkpoints/step-20" in str(caught.value)
    run.checkpoint(20)
    assert collector.sync(final=True).latest_step == 20


def test_another_set_under_the_same_step_replaces_it(
    memory: ObjectStore, run: RunDir, tmp_path: Path
) -> None:
    run.checkpoint(10)
    run.checkpoint(20)
    Collector(run.root, memory, attempt=1).sync()
    later = RunDir(tmp_path / "later")
    later.checkpoint(20)
    Collector(later.root, memory, attempt=2).sync()
    check_sets(memory)
    raw = (later.root / "checkpoints/step-20/manifest.json").read_bytes()
    assert memory.read("checkpoints/step-20/manifest.json") == raw
    assert json.loads(memory.read("checkpoints/LATEST"))["attempt"] == 2


def test_a_set_is_no_set_while_it_is_replaced(
    radosgw: S3Server, faults: Faults, run: RunDir, tmp_path: Path
) -> None:
    direct = open_on(radosgw)
    run.checkpoint(10)
    run.checkpoint(20)
    Collector(run.root, direct, attempt=1).sync()
    later = RunDir(tmp_path / "later")
    later.checkpoint(20)
    store = open_store(direct.url, endpoint=faults.endpoint, env=radosgw.env, patience_s=0.2)
    faults.add(status(500, "InternalError"), method="PUT", path="part-1", passes=False)
    assert Collector(later.root, store, attempt=2).sync().error
    check_sets(direct)
    assert restore_latest(direct, tmp_path / "new") == 10
    faults.clear()
    assert Collector(later.root, store, attempt=2).sync().latest_step == 20
    check_sets(direct)


def test_links_and_strange_names_are_reported(memory: ObjectStore, run: RunDir) -> None:
    run.write("eval/good.json", "{}")
    (run.root / "eval/secret").symlink_to("/etc/hostname")
    (run.root / "eval/folder").symlink_to("/etc")
    (run.root / "eval/new\nline").write_text("x")
    report = Collector(run.root, memory, attempt=1).sync()
    assert report.uploaded == ("eval/good.json",)
    assert len(report.problems) == 3


# -- several attempts and machines -------------------------------------------------------------------------


def test_an_earlier_attempt_that_is_still_alive_only_adds_its_logs(
    memory: ObjectStore, run: RunDir, tmp_path: Path
) -> None:
    old = Collector(run.root, memory, attempt=1)
    run.checkpoint(30)
    old.sync()
    new_run = RunDir(tmp_path / "new")
    new_run.checkpoint(40)
    new_run.write("eval/last.json", '"new"')
    Collector(new_run.root, memory, attempt=2).sync(final=True)
    run.checkpoint(90)
    run.write("eval/last.json", '"old"')
    run.append("logs/attempt-1/node-0/rank-0.log", "still here\n")
    report = old.sync(final=True)
    assert report.superseded
    assert report.uploaded == ("logs/attempt-1/node-0/rank-0.log",)
    assert read_latest(memory).step == 40  # type: ignore[union-attr]
    assert memory.read("eval/last.json") == b'"new"'
    assert 90 not in remote_sets(memory)
    with pytest.raises(StoreRefused, match="later attempt"):
        old.commit({})


def test_the_state_alone_tells_of_a_later_attempt(memory: ObjectStore, run: RunDir) -> None:
    memory.put("state.json", b'{"attempt": 3}')
    run.checkpoint(10)
    assert Collector(run.root, memory, attempt=2).sync().superseded
    assert not Collector(run.root, memory, attempt=3).sync().superseded


def test_latest_never_goes_back_within_an_attempt(memory: ObjectStore, run: RunDir) -> None:
    run.checkpoint(30)
    Collector(run.root, memory, attempt=1).sync()
    run.drop(30)
    run.checkpoint(10)
    assert Collector(run.root, memory, attempt=1).sync().latest_step == 30
    assert Collector(run.root, memory, attempt=2).sync().latest_step == 10


def test_results_of_other_machines_are_in_the_commit(
    memory: ObjectStore, run: RunDir, tmp_path: Path
) -> None:
    other = RunDir(tmp_path / "other")
    other.append("logs/attempt-1/node-1/rank-1.log", "node one\n")
    other.append("logs/attempt-1/node-0/rank-0.log", "not mine\n")
    other.write("eval/last.json", "not mine either")
    second = Collector(other.root, memory, attempt=1, node=1)
    assert second.sync(final=True).uploaded == ("logs/attempt-1/node-1/rank-1.log",)
    run.append("logs/attempt-1/node-0/rank-0.log", "node zero\n")
    first = Collector(run.root, memory, attempt=1)
    first.sync(final=True)
    manifest = first.commit({})
    assert {each.key for each in manifest.files} == {
        "logs/attempt-1/node-0/rank-0.log",
        "logs/attempt-1/node-1/rank-1.log",
    }
    assert memory.read("logs/attempt-1/node-0/rank-0.log") == b"node zero\n"


def test_a_new_attempt_withdraws_the_commit(memory: ObjectStore, run: RunDir) -> None:
    first = Collector(run.root, memory, attempt=1)
    run.checkpoint(10)
    first.sync(final=True)
    first.commit({})
    run.append("logs/attempt-1/node-0/node.log", "after the commit\n")
    assert first.sync().uploaded == (), "a late log line must not make the manifest wrong"
    assert memory.head("MANIFEST.json") is not None
    run.checkpoint(20)
    Collector(run.root, memory, attempt=2).sync()
    assert memory.head("MANIFEST.json") is None


# -- a store in trouble ------------------------------------------------------------------------------------


def test_an_outage_is_reported_and_heals(radosgw: S3Server, faults: Faults, run: RunDir) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=0.2)
    collector = Collector(run.root, store, attempt=1)
    run.checkpoint(10)
    collector.sync()
    run.checkpoint(20)
    run.write("eval/last.json", "{}")
    for method in ("GET", "PUT", "HEAD", "DELETE"):
        faults.add(reset, method=method)
    report = collector.sync()
    assert report.error
    assert {each.key for each in report.pending} == {"checkpoints/step-20", "eval/last.json"}
    assert report.latest_step == 10
    with pytest.raises(StoreUnreachable) as caught:
        collector.sync(final=True, budget_s=0.5)
    assert "not safe in the store yet: checkpoints/step-20" in str(caught.value)
    faults.clear()
    assert collector.sync(final=True).latest_step == 20
    check_sets(store)


def test_final_waits_for_a_store_that_comes_back(radosgw: S3Server, faults: Faults, run: RunDir) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=0.2)
    run.checkpoint(10)
    faults.add(status(500, "InternalError"), method="PUT", times=3)
    assert Collector(run.root, store, attempt=1).sync(final=True, budget_s=30).complete


def test_refused_is_not_retried_for_long(radosgw: S3Server, run: RunDir) -> None:
    store = open_on(radosgw, env={**radosgw.env, "AWS_SECRET_ACCESS_KEY": "wrong"})
    run.checkpoint(10)
    collector = Collector(run.root, store, attempt=1)
    assert "secret key is wrong" in collector.sync().error
    with pytest.raises(StoreRefused):
        collector.sync(final=True, budget_s=10_000)


def test_damage_on_the_way_is_never_committed(radosgw: S3Server, faults: Faults, run: RunDir) -> None:
    """The list after the upload shows other sizes or ETags: no manifest, no LATEST."""
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=0.2)
    run.checkpoint(10)
    direct = open_store(store.url, endpoint=radosgw.endpoint, env=radosgw.env)

    def spoil(answer: object) -> None:
        direct.put("checkpoints/step-10/part-0.bin", b"spoiled")

    faults.add(spoil, method="HEAD", path="part-1.bin", times=1)
    collector = Collector(run.root, store, attempt=1)
    report = collector.sync()
    assert [each.key for each in report.pending] == ["checkpoints/step-10"]
    assert report.latest_step is None
    assert collector.sync(final=True).latest_step == 10
    check_sets(direct)


UPLOADER = """
import sys
from pathlib import Path
from launcher.results.collector import Collector
from launcher.storage import open_store
collector = Collector(Path(sys.argv[2]), open_store(sys.argv[1]), attempt=1)
print("ready", flush=True)
collector.sync(final=True)
collector.commit({})
"""


def test_killed_at_random_moments_the_store_is_always_whole(
    rclone: S3Server, run: RunDir, tmp_path: Path, rng: random.Random
) -> None:
    store = open_on(rclone)
    kills = examples(4, 40)
    for number in range(1, kills + 1):
        run.checkpoint(number, files=4, size=50_000)
        run.best(number)
        if number > 3:
            run.drop(number - 3)
        process = subprocess.Popen(
            [sys.executable, "-c", UPLOADER, store.url, str(run.root)],
            env={**os.environ, **rclone.env},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        check_sets(store)
    collector = Collector(run.root, store, attempt=1)
    collector.sync(final=True)
    collector.commit({})
    assert sorted(remote_sets(store)) == [kills - 2, kills - 1, kills]
    assert restore_latest(store, tmp_path / "new") == kills


# -- restore -----------------------------------------------------------------------------------------------


def test_restore_passes_over_damaged_sets(
    radosgw: S3Server, faults: Faults, run: RunDir, tmp_path: Path
) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=0.2)
    for step in (10, 20, 30):
        run.checkpoint(step)
    Collector(run.root, store, attempt=1).sync()
    store.delete("checkpoints/step-30/manifest.json")
    faults.add(flip_bit, path="step-20/part-1")
    assert restore_latest(store, tmp_path / "new") == 10
    assert [path.name for path in (tmp_path / "new/checkpoints").glob("step-*")] == ["step-10"]
    faults.clear()
    assert restore_latest(store, tmp_path / "new") == 20
    assert tree(tmp_path / "new/checkpoints/step-20") == tree(run.root / "checkpoints/step-20")


def test_restore_when_all_is_damaged_or_nothing_is_there(
    memory: ObjectStore, run: RunDir, tmp_path: Path
) -> None:
    assert restore_latest(memory, tmp_path / "new") is None
    run.checkpoint(10)
    Collector(run.root, memory, attempt=1).sync()
    memory.put("checkpoints/step-10/part-0.bin", b"bad")
    with pytest.raises(IntegrityError):
        restore_latest(memory, tmp_path / "new")
    assert list((tmp_path / "new/checkpoints").glob("step-*")) == []


def test_restore_keeps_what_is_newer_here(memory: ObjectStore, run: RunDir) -> None:
    run.checkpoint(10)
    Collector(run.root, memory, attempt=1).sync()
    run.checkpoint(20)
    assert restore_latest(memory, run.root) == 20
    before = (run.root / "checkpoints/step-10").stat().st_mtime_ns
    run.drop(20)
    assert restore_latest(memory, run.root) == 10
    assert (run.root / "checkpoints/step-10").stat().st_mtime_ns == before


def test_a_machine_that_saves_nothing_keeps_only_the_newest_set_that_it_was_brought(
    memory: ObjectStore, run: RunDir, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    run.checkpoint(5)
    Collector(run.root, memory, attempt=1).sync()
    assert restore_latest(memory, new) == 5  # by an earlier launcher, which made no note of it
    for step in (10, 20, 30):
        run.checkpoint(step)
        if step == 10:
            run.best(10)
        Collector(run.root, memory, attempt=1).sync(final=True)
        assert restore_latest(memory, new) == step
        drop_earlier(new, 1, step)
    left = {path.name for path in (new / "checkpoints").glob("step-*")}
    assert left == {"step-5", "step-10", "step-30"}  # 10 is the best one
