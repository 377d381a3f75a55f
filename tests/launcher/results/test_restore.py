"""Bringing checkpoints back to a machine: the newest whole set, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import IntegrityError
from launcher.results.collector import Collector
from launcher.results.restore import drop_earlier, restore_latest
from launcher.storage import ObjectStore
from tests.servers.faults import Faults, flip_bit
from tests.servers.rundir import RunDir, tree
from tests.servers.s3 import S3Server
from tests.servers.stores import open_on


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
