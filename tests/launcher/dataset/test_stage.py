"""Staging: once, resumable, verified, in bounded time, and never a wrong file under a final name."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from launcher.dataset.cache import read_marker
from launcher.dataset.plain import StageProgress, stage
from launcher.disk import Folders
from launcher.errors import IntegrityError, NoSpace, NotFound, StoreError, StoreRefused, StoreUnreachable
from launcher.storage import ObjectInfo, ObjectStore, open_store
from launcher.storage.bulk import AdaptivePace
from launcher.storage.contents import check_space, take_listing
from launcher.storage.s3.store import S3Store
from tests.seeds import examples
from tests.servers.faults import Answer, Faults, cut, delay, flip_bit, reset, status
from tests.servers.s3 import S3Server
from tests.servers.stores import BUCKET, open_on
from tests.waiting import PATIENCE_S, wait_until


def fill(store: ObjectStore, files: int = 12, size: int = 3000) -> dict[str, bytes]:
    tree = {f"train/c{n % 3}/{n}.jpg": os.urandom(size + n) for n in range(files)}
    for key, data in tree.items():
        store.put(key, data)
    return tree


def read_tree(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_stage_and_reuse(store: ObjectStore, tmp_path: Path) -> None:
    tree = fill(store)
    seen: list[StageProgress] = []
    first = stage(store, tmp_path / "cache", progress=seen.append)
    assert read_tree(first.path) == tree
    assert (first.files, first.bytes, first.reused) == (12, sum(map(len, tree.values())), False)
    assert first.path.parent == tmp_path / "cache" / "datasets" / first.digest
    marker = read_marker(first.path.parent / "COMPLETE.json")
    assert marker is not None
    assert (marker.source, marker.digest, marker.files) == (store.url, first.digest, 12)
    assert (seen[0].files_done, seen[-1].files_done, seen[-1].bytes_done) == (0, 12, first.bytes)
    second = stage(store, tmp_path / "cache")
    assert second.reused
    assert (second.path, second.digest) == (first.path, first.digest)


def test_another_content_is_another_data_set(store: ObjectStore, tmp_path: Path) -> None:
    fill(store)
    first = stage(store, tmp_path)
    store.put("train/c0/new.jpg", b"new")
    second = stage(store, tmp_path)
    assert second.path != first.path
    assert second.files == first.files + 1
    assert len(read_tree(first.path)) == first.files, "the older data set is left alone"


def test_what_is_missing_or_short_is_repaired(store: ObjectStore, tmp_path: Path) -> None:
    tree = fill(store)
    staged = stage(store, tmp_path)
    (staged.path / "train/c0/0.jpg").unlink()
    (staged.path / "train/c1/1.jpg").write_bytes(b"short")
    (staged.path / "train/c1/mine.txt").write_bytes(b"somebody's note")
    (staged.path / "train/c1/.launcher-part-0123-77-ab").write_bytes(b"left by a process of ours")
    again = stage(store, tmp_path)
    assert not again.reused
    assert read_tree(again.path) == {**tree, "train/c1/mine.txt": b"somebody's note"}


def test_an_empty_source_is_an_error(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        stage(store, tmp_path)
    assert caught.value.where == store.url
    assert list((tmp_path / "datasets").iterdir()) == []


def test_only_folder_markers_is_an_empty_source(radosgw: S3Server, tmp_path: Path) -> None:
    store = open_on(radosgw)
    base = store.url.removeprefix(f"s3://{BUCKET}/")
    radosgw.client().put_object(Bucket=BUCKET, Key=f"{base}/train/", Body=b"")
    with pytest.raises(NotFound):
        stage(store, tmp_path)
    store.put("train/a/1.jpg", b"x")
    assert read_tree(stage(store, tmp_path).path) == {"train/a/1.jpg": b"x"}


REFUSED = {
    "../esc": "leads elsewhere",
    "x/../../esc": "leads elsewhere",
    "a/..": "leads elsewhere",
    "./a": "leads elsewhere",
    "a/./b": "leads elsewhere",
    "a//b": "empty segment",
    "/lead": "empty segment",
    "full/": "empty segment",
    "new\nline": "control character",
    "tab\tx": "control character",
    "del\x7f": "control character",
    "n" * 256: "longer than 255 bytes",
    "é" * 128 + "/x": "longer than 255 bytes",
}
STAGED = [
    *("with space", " lead", "trail ", "a+b", "100%", "%2e%2e/x", "%2F", "q?a=b&c", "#hash", "semi;colon"),
    *(
        "quote'\"",
        "~tilde",
        ".dot",
        "...",
        "..x/y..",
        "[x]*{y}",
        "a:b|c",
        "back\\slash",
        "-rf",
        "$HOME",
        "<&>",
    ),
    *("日本/é.jpg", "e\u0301", "😀", "right\u202eleft", "n" * 255, "CON", "Case", "case", "@,!()^`"),
]


@pytest.mark.parametrize("key", REFUSED)
def test_a_bucket_with_an_odd_key_is_refused_by_name(radosgw: S3Server, tmp_path: Path, key: str) -> None:
    store = open_on(radosgw)
    base = store.url.removeprefix(f"s3://{BUCKET}/")
    client = radosgw.client()
    client.put_object(Bucket=BUCKET, Key=f"{base}/good.jpg", Body=b"x")
    client.put_object(Bucket=BUCKET, Key=f"{base}/{key}", Body=b"x")
    with pytest.raises(StoreError, match=REFUSED[key]) as caught:
        stage(store, tmp_path / "cache")
    assert repr(key)[1:20] in str(caught.value)
    assert read_tree(tmp_path) == {}


def test_odd_keys_that_can_be_files_are_staged(radosgw: S3Server, engine: str, tmp_path: Path) -> None:
    store = open_on(radosgw)
    wanted = {key: key.encode() * 2 for key in STAGED}
    for key, data in wanted.items():
        store.put(key, data)
    assert read_tree(stage(store, tmp_path).path) == wanted
    assert isinstance(store, S3Store)
    assert (store._fast is None) if engine == "boto3" else store._fast.fetched == len(wanted)


def test_a_key_that_is_also_a_folder(radosgw: S3Server, tmp_path: Path) -> None:
    store = open_on(radosgw)
    base = store.url.removeprefix(f"s3://{BUCKET}/")
    for key in ("conf", "conf-x", "conf/x"):
        radosgw.client().put_object(Bucket=BUCKET, Key=f"{base}/{key}", Body=b"x")
    with pytest.raises(StoreError) as caught:
        stage(store, tmp_path)
    assert "'conf'" in str(caught.value)
    assert "'conf/x'" in str(caught.value)


def test_folding_file_systems_see_collisions(tmp_path: Path) -> None:
    store = open_store(f"memory://{tmp_path.name}")
    for key in ("a/One.jpg", "a/one.jpg"):
        store.put(key, b"x")
    assert take_listing(store, tmp_path, folds=False).files == 2
    with pytest.raises(StoreError, match="can't both"):
        take_listing(store, tmp_path, folds=True)


def test_a_link_in_the_cache_does_not_redirect_writes(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    root.mkdir()
    (root / "train").symlink_to(outside)
    with pytest.raises(IntegrityError):
        Folders(root).path("train/a/1.jpg")
    assert list(outside.iterdir()) == []


def test_links_in_a_source_folder(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "train").mkdir(parents=True)
    (source / "train/1.jpg").write_bytes(b"x")
    (source / "link").symlink_to(tmp_path)
    with pytest.raises(StoreError, match="symbolic link"):
        stage(open_store(str(source)), tmp_path / "cache")
    (source / "link").unlink()
    (source / "val").symlink_to(source / "train")
    staged = stage(open_store(str(source), follow_symlinks=True), tmp_path / "cache")
    assert read_tree(staged.path) == {"train/1.jpg": b"x", "val/1.jpg": b"x"}
    (source / "train/loop").symlink_to(source)
    with pytest.raises(StoreError, match="circle"):
        stage(open_store(str(source), follow_symlinks=True), tmp_path / "cache")


# -- space -------------------------------------------------------------------------------------------------


def test_lack_of_bytes_is_known_before_the_first_byte(
    faulty: ObjectStore, faults: Faults, small_disk: Path
) -> None:
    for n in range(3):
        faulty.put(f"big-{n}", os.urandom(900_000))
    faults.clear()
    with pytest.raises(NoSpace) as caught:
        stage(faulty, small_disk)
    assert "lacking" in caught.value.what
    assert faults.count("GET", "/big-") == 0
    faulty.delete("big-2")
    with pytest.raises(NoSpace, match="reserve"):
        stage(faulty, small_disk, reserve_bytes=1_000_000)
    assert stage(faulty, small_disk).files == 2


def test_lack_of_inodes_is_known_before_the_first_byte(small_disk: Path, tmp_path: Path) -> None:
    store = open_store(f"memory://{tmp_path.name}")
    for n in range(120):
        store.put(f"{n}", b"")
    with pytest.raises(NoSpace, match="inodes"):
        stage(store, small_disk)


@pytest.mark.usefixtures("engine")
def test_space_that_vanishes_meanwhile(faulty: ObjectStore, faults: Faults, small_disk: Path) -> None:
    for n in range(4):
        faulty.put(f"big-{n}", os.urandom(300_000))
    for n in range(30):
        faulty.put(f"z-{n:02}", b"x")
    hog = small_disk / "hog"

    def fill_the_disk(answer: Answer) -> None:
        hog.write_bytes(b"x" * 1_200_000)

    faults.add(fill_the_disk, path="/big-2", times=1)
    with pytest.raises(NoSpace):
        stage(faulty, small_disk, workers=1)
    digest = next(path for path in (small_disk / "datasets").iterdir() if path.is_dir())
    kept = read_tree(digest / "files")
    assert {"big-0", "big-1"} <= set(kept), "what was verified stays"
    assert "big-2" not in kept
    assert faults.count("GET", "/z-") < 15, "a full disk stops everything at once"
    hog.unlink()
    faults.clear()
    assert stage(faulty, small_disk).files == 34
    assert faults.count("GET", "/big-0") == 0, "what was there is not fetched again"


def test_space_is_counted_in_blocks(tmp_path: Path) -> None:
    files, size = check_space(tmp_path, iter([ObjectInfo("a", 1), ObjectInfo("b", 2)]), 1, 0)
    assert (files, size) == (2, 3)
    with pytest.raises(NoSpace):
        check_space(tmp_path, iter([ObjectInfo("a", 1)]), 1, 1 << 60)


# -- faults ------------------------------------------------------------------------------------------------


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
        stage(faulty, tmp_path, workers=2, timeout_s=1.0)


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


# -- several processes, and death --------------------------------------------------------------------------

STAGER = """
import sys, time
from pathlib import Path
from launcher.dataset.plain import stage
from launcher.storage import open_store
staged = stage(open_store(sys.argv[1]), Path(sys.argv[2]), workers=3, timeout_s=60)
print(staged.reused, staged.files)
"""


def start_stager(url: str, cache: Path, server: S3Server) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", STAGER, url, str(cache)],
        env={**os.environ, **server.env},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_one_fetches_and_the_others_wait(radosgw: S3Server, faults: Faults, tmp_path: Path) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint)
    tree = fill(store, files=20)
    faults.clear()
    faults.add(delay(0.1), path=".jpg")
    processes = [
        start_stager(store.url, tmp_path, S3Server(faults.endpoint, radosgw.access_key, radosgw.secret_key))
        for _ in range(3)
    ]
    wait_until(lambda: faults.count("GET", ".jpg"), "one of them fetches")
    seen: list[StageProgress] = []
    here = stage(store, tmp_path, progress=seen.append)
    outputs = [process.communicate(timeout=PATIENCE_S)[0].split() for process in processes]
    assert all(process.returncode == 0 for process in processes)
    fetchers = [output[0] for output in outputs].count("False") + (not here.reused)
    assert fetchers == 1
    assert faults.count("GET", ".jpg") == len(tree)
    assert read_tree(here.path) == tree
    if here.reused and seen:
        assert "process" in (seen[0].waiting_for or "")


@pytest.mark.usefixtures("engine")
def test_killed_at_random_moments_the_next_one_finishes(
    radosgw: S3Server, faults: Faults, tmp_path: Path, rng: random.Random
) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint)
    tree = fill(store, files=24)
    store.put("big.bin", tree.setdefault("big.bin", os.urandom(9 << 20)))
    faults.add(delay(0.05), path=".jpg")
    server = S3Server(faults.endpoint, radosgw.access_key, radosgw.secret_key)
    for _ in range(examples(2, 20)):
        process = start_stager(store.url, tmp_path, server)
        wait_until(lambda: list(tmp_path.glob("datasets/*/boot_id")))
        time.sleep(rng.uniform(0.0, 0.35))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for digest in tmp_path.glob("datasets/*/files"):
            for key, data in read_tree(digest).items():
                if not key.rpartition("/")[2].startswith("."):
                    assert data == tree[key], "a wrong file under a final name"
            if (digest.parent / "COMPLETE.json").exists():
                assert read_tree(digest) == tree
                shutil.rmtree(digest.parent)  # begin anew
    staged = stage(store, tmp_path)
    assert read_tree(staged.path) == tree, "and no part is left"


def test_waiting_has_an_end_too(tmp_path: Path) -> None:
    store = open_store(f"memory://{tmp_path.name}")
    fill(store)
    digest = stage(store, tmp_path).digest
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom launcher.disk import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    lock = tmp_path / "datasets" / f"{digest}.lock"
    holder = subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        seen: list[StageProgress] = []
        with pytest.raises(StoreUnreachable, match="out of time"):
            stage(store, tmp_path, timeout_s=0.5, progress=seen.append)
        assert seen[0].waiting_for
    finally:
        holder.kill()
        holder.communicate()
    assert stage(store, tmp_path, timeout_s=PATIENCE_S).reused, "the lock went with its holder"


def test_after_a_crash_of_the_machine_contents_are_read_again(tmp_path: Path) -> None:
    store = open_store(f"memory://{tmp_path.name}")
    tree = fill(store)
    staged = stage(store, tmp_path)
    home = staged.path.parent
    (home / "COMPLETE.json").unlink()
    (home / "boot_id").write_text("an earlier boot")
    torn = staged.path / "train/c1/1.jpg"
    torn.write_bytes(b"\0" * torn.stat().st_size)  # right size, never written out
    assert read_tree(stage(store, tmp_path).path) == tree


def test_memory_does_not_grow_with_the_listing(tmp_path: Path) -> None:
    """30,000 keys, listed and read back, in two MiB; a list of them would take ten."""
    import tracemalloc

    class Endless:
        url = "memory://endless"

        def list(self, prefix: str = "") -> object:
            return (
                ObjectInfo(f"train/c{n // 1300:04}/{n:08}.jpg", 110_000, f"{n:032x}") for n in range(30_000)
            )

    tracemalloc.start()
    listing = take_listing(Endless(), tmp_path, folds=False)  # type: ignore[arg-type]
    assert sum(1 for _ in listing.entries()) == listing.files == 30_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 << 20


def test_the_status_file_helps_those_who_wait(tmp_path: Path) -> None:
    store = open_store(f"memory://{tmp_path.name}")
    fill(store)
    staged = stage(store, tmp_path)
    facts = json.loads((tmp_path / "datasets" / f"{staged.digest}.status.json").read_text())
    assert facts["pid"] == os.getpid()
    assert facts["files_done"] == 12
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("get")]
