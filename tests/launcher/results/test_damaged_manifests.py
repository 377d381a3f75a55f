"""A damaged small file in the store or on the disk must not fail a run whose newest checkpoint is good."""

from pathlib import Path

import pytest

from launcher.results.collector import Collector
from launcher.results.restore import restore_latest
from launcher.runfolder.manifest import parse_manifest
from launcher.storage import ObjectStore, open_store
from tests.launcher.damages import DAMAGES
from tests.servers.rundir import RunDir

NAMES = (
    "checkpoints/step-10/manifest.json",
    "checkpoints/step-20/manifest.json",
    "checkpoints/LATEST",
    "checkpoints/best.json",
    "manifests/node-1.json",
    "MANIFEST.json",
    "state.json",
    "attempts/1",
)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "run")
    run.checkpoint(10)
    run.checkpoint(20)
    run.best(20)
    return run


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    store = open_store(f"memory://{tmp_path.name}/runs/damaged")
    for name in ("manifests/node-1.json", "state.json", "attempts/1", "MANIFEST.json"):
        store.put(name, b"{}")
    return store


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", NAMES)
def test_the_run_ends_well_and_what_is_on_the_disk_is_sent_again(
    name: str, how: str, run: RunDir, store: ObjectStore, tmp_path: Path
) -> None:
    collector = Collector(run.root, store, attempt=1)
    collector.sync(final=True)
    whole = b'{"files": [1]}' if name == "MANIFEST.json" else store.read(name)
    store.put(name, DAMAGES[how](whole))
    collector.sync(final=True)
    collector.commit({"state": "SUCCEEDED"})
    keys = {each.key for each in parse_manifest(store.read("MANIFEST.json"), "").files}
    for step in (10, 20):
        assert f"checkpoints/step-{step}/manifest.json" in keys
    assert restore_latest(store, tmp_path / "elsewhere") == 20


@pytest.mark.parametrize("name", ["manifest.json", "part-0.bin"])
@pytest.mark.parametrize("how", DAMAGES)
def test_a_set_that_is_damaged_on_the_disk_stays_in_the_store(
    name: str, how: str, run: RunDir, store: ObjectStore, tmp_path: Path
) -> None:
    """It was removed there, as one that the program had removed."""
    collector = Collector(run.root, store, attempt=1)
    collector.sync()
    path = run.root / "checkpoints/step-10" / name
    path.write_bytes(DAMAGES[how](path.read_bytes()))
    collector.sync(final=True)
    collector.commit({"state": "SUCCEEDED"})
    keys = {each.key for each in parse_manifest(store.read("MANIFEST.json"), "").files}
    assert "checkpoints/step-10/manifest.json" in keys
    assert restore_latest(store, tmp_path / "elsewhere") == 20


def test_a_set_that_is_damaged_before_its_upload_is_named_at_the_end(run: RunDir, store: ObjectStore) -> None:
    (run.root / "checkpoints/step-10/manifest.json").write_bytes(b"")
    collector = Collector(run.root, store, attempt=1)
    assert collector.sync().problems == ()
    (problem,) = collector.sync(final=True).problems
    assert "step-10 is not complete on this disk" in problem


def test_a_set_that_is_damaged_while_it_is_sent_is_named_at_the_end(run: RunDir, store: ObjectStore) -> None:
    manifest = run.root / "checkpoints/step-10/manifest.json"
    whole = manifest.read_bytes()
    (run.root / "checkpoints/step-10/part-0.bin").write_bytes(bytes(2000))
    collector = Collector(run.root, store, attempt=1)
    assert [each.key for each in collector.sync().pending] == ["checkpoints/step-10"]
    manifest.write_bytes(whole[:-20])
    (problem,) = collector.sync(final=True).problems
    assert "step-10 is not complete on this disk" in problem


@pytest.mark.parametrize("how", [how for how in DAMAGES if how != "huge"])
def test_an_old_set_that_is_damaged_and_not_here_is_left_out(
    how: str, run: RunDir, store: ObjectStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Collector(run.root, store, attempt=1).sync(final=True)
    name = "checkpoints/step-10/manifest.json"
    store.put(name, DAMAGES[how](store.read(name)))
    new = RunDir(tmp_path / "new")
    new.checkpoint(30)
    collector = Collector(new.root, store, attempt=2)
    collector.sync(final=True)
    collector.commit({"state": "SUCCEEDED"})
    keys = {each.key for each in parse_manifest(store.read("MANIFEST.json"), "").files}
    assert not any(key.startswith("checkpoints/step-10/") for key in keys)
    assert "checkpoints/step-30/manifest.json" in keys
    assert "step-10" in caplog.text


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_ledger_on_the_disk_is_made_anew(how: str, run: RunDir, store: ObjectStore) -> None:
    Collector(run.root, store, attempt=1).sync(final=True)
    ledger = run.root / "upload.json"
    ledger.write_bytes(DAMAGES[how](ledger.read_bytes()))
    collector = Collector(run.root, store, attempt=1)
    collector.sync(final=True)
    collector.commit({"state": "SUCCEEDED"})
    assert len(parse_manifest(store.read("MANIFEST.json"), "").files) >= 4
