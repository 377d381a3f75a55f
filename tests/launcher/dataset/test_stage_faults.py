"""Staging from a store in trouble, within a time limit, at a pace that suits it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from launcher.dataset.cache import read_marker
from launcher.dataset.plain import StageProgress, stage
from launcher.errors import IntegrityError, StoreRefused, StoreUnreachable
from launcher.storage import ObjectStore, open_store
from launcher.storage.bulk import AdaptivePace
from tests.launcher.dataset.trees import fill, read_tree
from tests.servers.faults import Answer, Faults, cut, delay, flip_bit, reset, status
from tests.servers.s3 import S3Server
from tests.servers.stores import BUCKET, open_on


@pytest.mark.usefixtures("engine")
def test_many_small_faults(faulty: ObjectStore, faults: Faults, tmp_path: Path) -> None:
    tree = fill(faulty, files=30)
    for fault, path in [
        (cut, "/3.jpg"),
        (reset, "/4.jpg"),
        (flip_bit, "/5.jpg"),
        (status(503, "SlowDown"), "c1/"),
    ]:
        faults.add(fault, path=path, times=1)
    assert read_tree(stage(faulty, tmp_path, workers=8).path) == tree


@pytest.mark.usefixtures("engine")
def test_one_bad_object_does_not_stop_the_others_but_fails_the_whole(
    radosgw: S3Server, faults: Faults, tmp_path: Path
) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=0.5)
    tree = fill(store, files=30)
    faults.add(flip_bit, path="/7.jpg")
    with pytest.raises(IntegrityError) as caught:
        stage(store, tmp_path)
    assert "7.jpg" in str(caught.value)
    (digest,) = (path for path in (tmp_path / "datasets").iterdir() if path.is_dir())
    assert read_marker(digest / "COMPLETE.json") is None
    assert read_tree(digest / "files") == {key: data for key, data in tree.items() if "/7.jpg" not in key}
    faults.clear()
    assert read_tree(stage(store, tmp_path).path) == tree
    assert faults.count("GET", ".jpg") == 1


@pytest.mark.usefixtures("engine")
def test_an_outage_ends_early(radosgw: S3Server, faults: Faults, tmp_path: Path) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=0.3)
    fill(store, files=60)
    faults.clear()
    faults.add(status(500, "InternalError"), path=".jpg")
    with pytest.raises(StoreUnreachable) as caught:
        stage(store, tmp_path, workers=4)
    assert "of 60 objects failed" in str(caught.value)
    assert faults.count("GET", ".jpg") < 60 * 3


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("code", "name", "words"),
    [
        (403, "RequestTimeTooSkewed", "clock is wrong"),
        (400, "ExpiredToken", "token has expired"),
        (403, "SignatureDoesNotMatch", "secret key is wrong"),
    ],
)
def test_a_refusal_in_the_middle_ends_it_with_a_reason(
    faulty: ObjectStore, faults: Faults, tmp_path: Path, code: int, name: str, words: str
) -> None:
    """A clock that is set, a token that ends, keys that are withdrawn while objects are on their way."""
    tree = fill(faulty, files=30)
    for key in ("/2.jpg", "/5.jpg"):
        faults.add(status(code, name), path=key)
    faults.add(delay(0.02), path=".jpg")
    with pytest.raises(StoreRefused, match=words) as caught:
        stage(faulty, tmp_path, workers=2)
    assert caught.value.hint
    (home,) = (path for path in (tmp_path / "datasets").iterdir() if path.is_dir())
    assert read_marker(home / "COMPLETE.json") is None
    kept = read_tree(home / "files")
    assert len(kept) < 29
    assert all(tree[key] == data for key, data in kept.items())
    faults.clear()
    assert read_tree(stage(faulty, tmp_path).path) == tree


@pytest.mark.usefixtures("engine")
def test_an_object_that_changes_after_the_listing(radosgw: S3Server, faults: Faults, tmp_path: Path) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint)
    fill(store, files=5)
    base = store.url.removeprefix(f"s3://{BUCKET}/")

    def rewrite(answer: Answer) -> None:
        radosgw.client().put_object(Bucket=BUCKET, Key=f"{base}/train/c2/2.jpg", Body=b"other")

    faults.add(rewrite, path="marker=", times=1)
    with pytest.raises(IntegrityError, match="changed"):
        stage(store, tmp_path)


@pytest.mark.usefixtures("engine")
def test_the_time_limit(faulty: ObjectStore, faults: Faults, tmp_path: Path) -> None:
    fill(faulty, files=40)
    faults.add(delay(0.3), path=".jpg")
    with pytest.raises(StoreUnreachable, match="out of time"):
        stage(faulty, tmp_path, workers=2, timeout_s=3.0)


class Enough(Exception):
    """Raised by a progress callback."""


@pytest.mark.parametrize("calls", [0, 1])
def test_a_caller_that_gives_up_in_progress(
    faulty: ObjectStore, faults: Faults, tmp_path: Path, calls: int
) -> None:
    """At the first report, and while objects are on their way."""
    fill(faulty, files=60)
    faults.add(delay(0.1), path=".jpg")
    seen: list[StageProgress] = []

    def stop(progress: StageProgress) -> None:
        assert threading.current_thread() is threading.main_thread()
        seen.append(progress)
        if len(seen) > calls:
            raise Enough

    with pytest.raises(Enough):
        stage(faulty, tmp_path, progress=stop, workers=2)
    assert seen[-1].files_done < 60
    faults.clear()
    assert stage(faulty, tmp_path).files == 60
    assert (faults.count("GET", ".jpg") < 60) is bool(calls), "what had arrived is kept"


@pytest.mark.system
def test_a_listing_reports_and_has_a_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(f"memory://{tmp_path.name}")
    for n in range(2000):
        store.put(f"{n:05}", b"")
    monkeypatch.setattr("launcher.dataset.plain.REPORT_S", 0.0)
    seen: list[StageProgress] = []
    stage(store, tmp_path, progress=seen.append)
    assert [each.files_total for each in seen[:2]] == [1000, 2000]
    with pytest.raises(StoreUnreachable, match="listing"):
        stage(store, tmp_path, timeout_s=0.0)


def test_the_pace_halves_and_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("launcher.storage.bulk.time.monotonic", lambda: now[0])
    pace = AdaptivePace(16)
    for _ in range(5):
        pace.busy()
    assert pace.limit == 8, "one burst counts once"
    now[0] += 1
    pace.busy()
    assert pace.limit == 4
    for _ in range(3):
        now[0] += 2.5
        pace.enter()
        pace.leave()
    assert pace.limit == 7
