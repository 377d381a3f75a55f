"""Collecting: what is complete goes up, in an order that is safe at every moment, and the later attempt wins."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from launcher.errors import StoreError
from launcher.jobfile.spec_outputs import OutputsSpec
from launcher.results import files as uploads
from launcher.results.collector import Collector
from launcher.results.programfiles import ProgramFiles
from launcher.results.restore import restore_latest
from launcher.runfolder.manifest import parse_manifest
from launcher.runfolder.sets import read_latest, remote_sets
from launcher.storage import ObjectStore, open_store
from tests.launcher.counting import calls_of
from tests.launcher.results.whole import check_sets
from tests.servers.faults import Faults, status
from tests.servers.rundir import RunDir, tree
from tests.servers.s3 import S3Server
from tests.servers.stores import open_on


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


def test_the_work_of_many_small_files_grows_with_their_number(tmp_path: Path) -> None:
    """Calls of functions are counted, in the upload of all and in the one after it that finds nothing new."""

    def calls(files: int) -> tuple[int, int]:
        run = tmp_path / str(files)
        (run / "work/rank-0").mkdir(parents=True)
        for number in range(files):
            (run / f"work/rank-0/{number}.txt").write_text(str(number))
        program = ProgramFiles(run, OutputsSpec(), [0], 0)
        store = open_store(f"memory://{tmp_path.name}-{files}")
        collector = Collector(run, store, attempt=1, program=program)
        first, second = (calls_of(lambda: collector.sync(final=True)) for _ in range(2))
        assert sum(info.key.startswith("work/") for info in store.list()) == files
        return first, second

    calls(1)  # what is imported or cached at first use
    few, many = calls(100), calls(400)
    assert many[0] < 4.5 * few[0]
    assert many[1] < 4.5 * few[1]


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


# -- a store in trouble ------------------------------------------------------------------------------------


# -- restore -----------------------------------------------------------------------------------------------


LOG = "logs/attempt-1/node-0/rank-0.log"


def test_a_growing_file_waits_for_its_turn_but_not_at_the_end(memory: ObjectStore, run: RunDir) -> None:
    collector = Collector(run.root, memory, attempt=1, growing_every_s=1e6)
    run.append(LOG, "one\n")
    collector.sync()
    run.append(LOG, "two\n")
    assert collector.sync().uploaded == ()
    assert memory.read(LOG) == b"one\n"
    assert collector.sync(final=True).uploaded == (LOG,)
    assert memory.read(LOG) == b"one\ntwo\n"


def test_at_the_end_one_listing_takes_the_place_of_a_look_at_each_file(
    faulty: ObjectStore, faults: Faults, run: RunDir
) -> None:
    collector = Collector(run.root, faulty, attempt=1, growing_every_s=1e6)
    logs = [LOG.replace("rank-0", f"rank-{rank}") for rank in range(3)]
    for log in logs:
        run.append(log, "one\n")
    assert collector.sync(final=True).uploaded == tuple(logs)
    assert [faults.count(method, "rank-") for method in ("PUT", "GET", "HEAD")] == [3, 1, 0]


def test_what_was_sent_without_a_look_is_sent_again_at_the_end(
    faulty: ObjectStore, faults: Faults, run: RunDir
) -> None:
    collector = Collector(run.root, faulty, attempt=1, growing_every_s=1e6)
    run.append(LOG, "one\n")
    collector.sync()
    assert (faults.count("PUT", LOG), faults.count("HEAD", LOG)) == (1, 0)
    faulty.delete(LOG)  # as a store that lost it
    collector.sync(final=True)
    assert (faults.count("PUT", LOG), faults.count("HEAD", LOG)) == (2, 1)
    assert collector.sync(final=True).uploaded == ()
    assert faulty.read(LOG) == b"one\n"
