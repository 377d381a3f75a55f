"""Results of a run with a damaged manifest: the error or the note names it, and what is whole is fetched."""

from pathlib import Path

import pytest

from launcher.errors import IntegrityError
from launcher.results.collector import Collector
from launcher.results.fetch import fetch
from launcher.results.verify import verify_run
from launcher.storage import ObjectStore, open_store
from tests.servers.rundir import RunDir

OLD = "checkpoints/step-10/manifest.json"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    """Of a run that has not committed yet."""
    run = RunDir(tmp_path / "run")
    run.checkpoint(10)
    run.checkpoint(20)
    store = open_store(f"memory://{tmp_path.name}/runs/expected")
    Collector(run.root, store, attempt=1).sync(final=True)
    return store


def test_a_fetch_leaves_out_the_set_and_says_so(store: ObjectStore, tmp_path: Path) -> None:
    store.put(OLD, b"{")
    report = fetch(store, tmp_path / "to")
    assert OLD in report.note
    assert (tmp_path / "to/checkpoints/step-20/manifest.json").exists()
    assert not (tmp_path / "to/checkpoints/step-10").exists()


def test_verify_names_it(store: ObjectStore) -> None:
    assert verify_run(store).good
    store.put(OLD, b"{")
    assert [finding.where for finding in verify_run(store).findings] == [OLD]


def test_what_still_works_without_the_manifest_of_a_run(store: ObjectStore, tmp_path: Path) -> None:
    store.put("MANIFEST.json", b"[")
    with pytest.raises(IntegrityError, match=r"MANIFEST\.json.*\n.*launcher cp memory://"):
        fetch(store, tmp_path / "to")
