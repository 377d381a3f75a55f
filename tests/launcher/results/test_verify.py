"""Verification of what is there: the results of a run, and staged data sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.dataset.plain import stage
from launcher.errors import NotFound
from launcher.results.collector import Collector
from launcher.results.verify import WRONG_CONTENT, is_staged, verify_run, verify_staged
from launcher.storage import ObjectStore, open_store
from tests.servers.faults import Faults, flip_bit
from tests.servers.rundir import RunDir
from tests.servers.s3 import S3Server
from tests.servers.stores import open_on


def committed(tmp_path: Path, store: ObjectStore) -> None:
    run = RunDir(tmp_path / "run")
    run.checkpoint(10)
    (tmp_path / "run/eval").mkdir()
    (tmp_path / "run/eval/last.json").write_text('{"top1": 0.5}')
    collector = Collector(tmp_path / "run", store, attempt=1)
    collector.sync(final=True)
    collector.commit({"run_id": "x"})


def test_results_of_a_run(store: ObjectStore, tmp_path: Path) -> None:
    committed(tmp_path, store)
    seen: list[tuple[int, int]] = []
    report = verify_run(store, lambda *now: seen.append(now))
    assert (report.good, report.committed, report.stray, report.unproven) == (True, True, (), 0)
    assert seen[-1] == (report.files, report.files)
    store.put("eval/notes.txt", b"by hand")
    store.put("status/node-0.json", b"{}")
    assert verify_run(store).stray == ("eval/notes.txt",)
    part = store.read("checkpoints/step-10/part-0.bin")
    store.put("checkpoints/step-10/part-0.bin", part[:-1] + bytes([part[-1] ^ 1]))
    store.put("eval/last.json", b"short")
    store.delete("checkpoints/step-10/part-1.bin")
    assert {(each.where, each.message) for each in verify_run(store).findings} == {
        ("checkpoints/step-10/part-0.bin", "does not match its sha256"),
        ("checkpoints/step-10/part-1.bin", "is missing"),
        ("eval/last.json", "has 5 bytes instead of 13"),
    }


def test_damage_that_the_store_itself_notices_is_a_finding_too(
    radosgw: S3Server, faults: Faults, engine: str, tmp_path: Path
) -> None:
    """A read compares bytes with the digest that was stored with them. One damaged file must not end the report on the others."""
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=1)
    committed(tmp_path, store)
    damaged = {"checkpoints/step-10/part-0.bin", "eval/last.json"}
    for key in damaged:
        faults.add(flip_bit, path=f"/{key}")
    report = verify_run(store)
    assert {(each.rule, each.where) for each in report.findings} == {(WRONG_CONTENT, key) for key in damaged}
    assert report.files > len(damaged)


def test_a_run_that_has_not_ended(tmp_path: Path) -> None:
    store = open_store(f"memory://{tmp_path.name}-verify")
    with pytest.raises(NotFound):
        verify_run(store)
    RunDir(tmp_path / "run").checkpoint(10)
    (tmp_path / "run/metrics.jsonl").write_text("{}\n")
    Collector(tmp_path / "run", store, attempt=1).sync()
    report = verify_run(store)
    assert (report.good, report.committed) == (True, False)
    assert report.unproven >= 1, "what no manifest names yet"


def test_a_staged_data_set(tmp_path: Path) -> None:
    store = open_store(f"memory://{tmp_path.name}-staged")
    for n in range(5):
        store.put(f"train/{n}.jpg", b"abc%d" % n)
    staged = stage(store, tmp_path)
    home = staged.path.parent
    assert is_staged(home)
    assert verify_staged(home).good
    (staged.path / "train/0.jpg").write_bytes(b"xbc0")
    (staged.path / "train/1.jpg").write_bytes(b"")
    (staged.path / "train/2.jpg").unlink()
    (staged.path / "train/mine.txt").write_bytes(b"")
    report = verify_staged(home)
    assert [each.message.split()[0] for each in report.findings] == ["does", "has", "is"]
    assert report.stray == ("train/mine.txt",)
    assert not is_staged(tmp_path)
    with pytest.raises(NotFound):
        verify_staged(tmp_path)
