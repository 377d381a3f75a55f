"""Keys and links that can't be files, or would lead elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.dataset.plain import stage
from launcher.disk import PART_PREFIX, TEMP_PREFIX, Folders, part_name
from launcher.errors import IntegrityError, StoreError
from launcher.storage import open_store
from launcher.storage.contents import take_listing
from launcher.storage.s3.store import S3Store
from tests.launcher.dataset.trees import read_tree
from tests.servers.s3 import S3Server
from tests.servers.stores import BUCKET, open_on

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
    part_name("good.jpg"): "files that are not complete",
    f"a/{TEMP_PREFIX}7-ab": "files that are not complete",
    f"{PART_PREFIX}x/1.jpg": "files that are not complete",
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
