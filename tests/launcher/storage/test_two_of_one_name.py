"""An object and a folder of one name: a bucket can have both and a disk can't. Both are copied or none, and never one in silence."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from launcher.cli import main
from launcher.dataset.single import single_file
from launcher.errors import StoreError, StoreRefused, UsageError
from launcher.storage import ObjectStore, open_store
from launcher.storage.address import StoreAddress
from launcher.storage.contents import take_listing
from launcher.storage.copy import fetch_one, fetch_tree, send_one, send_tree
from tests.servers.faults import Faults, status
from tests.servers.s3 import S3Server
from tests.servers.stores import BUCKET, open_on


@pytest.fixture(params=["memory", "radosgw"])
def both(request: pytest.FixtureRequest) -> ObjectStore:
    """A store of a kind that takes an object `conf` beside `conf/x`."""
    if request.param == "memory":
        return open_store(f"memory://{uuid.uuid4().hex}/some")
    return open_on(request.getfixturevalue("radosgw"))


def folder_of(path: Path, **files: str) -> Path:
    for name, text in files.items():
        place = path / name.replace("__", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return path


def test_fetching_refuses_and_writes_nothing(both: ObjectStore, tmp_path: Path) -> None:
    for key in ("a", "conf", "conf!", "conf/x"):
        both.put(key, key.encode())
    for fetch in (
        lambda: fetch_tree(both, tmp_path / "tree"),
        lambda: fetch_one(both, "conf", tmp_path / "one"),
        lambda: take_listing(both, tmp_path / "tree", folds=False),
    ):
        with pytest.raises(StoreError) as caught:
            fetch()
        assert "'conf'" in str(caught.value)
        assert "'conf/x'" in str(caught.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert fetch_one(both, "a", tmp_path / "one").files == 1
    assert fetch_tree(both.substore("conf"), tmp_path / "sub").files == 1, (
        "a folder that is named with its '/'"
    )


@pytest.mark.parametrize("there", ["conf", "conf/x", "conf/x/y/z"])
@pytest.mark.parametrize("force", [False, True])
def test_sending_refuses_before_the_first_byte(
    both: ObjectStore, tmp_path: Path, there: str, force: bool
) -> None:
    both.put(there, b"theirs")
    both.put("zz", b"theirs")
    files = {"aa": "1", "conf__x__y": "2"} if there == "conf" else {"aa": "1", "conf": "2"}
    mine = folder_of(tmp_path / "mine", **files)
    with pytest.raises(StoreError, match="would be an object and the folder"):
        send_tree(open_store(str(mine)), mine, both, force=force)
    assert [info.key for info in both.list()] == [there, "zz"]


def test_one_file_is_not_sent_to_the_name_of_a_folder(both: ObjectStore, tmp_path: Path) -> None:
    both.put("conf/x", b"1")
    (tmp_path / "file").write_text("2")
    with pytest.raises(StoreError, match="a folder of this name"):
        send_one(tmp_path / "file", both, "conf", force=True)
    assert [info.key for info in both.list()] == ["conf/x"]


def test_cp_names_an_object_above_its_target(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    url = f"memory://{uuid.uuid4().hex}"
    open_store(url).put("deep/conf", b"an object")
    mine = folder_of(tmp_path / "mine", x="1")
    for source, dest in (
        (mine, f"{url}/deep/conf"),
        (mine, f"{url}/deep/conf/more/"),
        (mine / "x", f"{url}/deep/conf/y"),
        (mine / "x", f"{url}/deep/conf/"),
    ):
        assert main(["cp", str(source), dest, "--force"]) == 4
        assert "deep/conf: this is an object" in capsys.readouterr().err
    assert [info.key for info in open_store(url).list()] == ["deep/conf"]
    assert main(["cp", str(mine), f"{url}/deep"]) == 0


def test_packing_names_an_object_above_its_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"memory://{uuid.uuid4().hex}"
    open_store(url).put("conf", b"an object")
    mine = folder_of(tmp_path / "mine", x="1")
    (tmp_path / "file").touch()
    for dest, place in ((f"{url}/conf/packed", "conf"), (f"{tmp_path}/file/packed", "file")):
        assert main(["pack", str(mine), dest, "--work-dir", str(tmp_path / "work")]) == 4
        assert f"/{place}: this is a" in capsys.readouterr().err
    assert [info.key for info in open_store(url).list()] == ["conf"]


def test_folders_whose_names_are_those_of_files_on_this_machine(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "file/x", "file/x/y", "link", "link/x"):
        with pytest.raises(StoreError, match="this is a file, and would be a folder, too") as caught:
            StoreAddress(url=f"file://{tmp_path}/{name}").refuse_objects_above()
        assert caught.value.where == str(tmp_path / name.split("/")[0])
    StoreAddress(url=f"file://{tmp_path}/other/x").refuse_objects_above()


def test_objects_above_that_may_not_be_asked_for_are_passed_over(radosgw: S3Server, faults: Faults) -> None:
    """Whoever may use one folder of a bucket gets 403 for all else."""
    faults.refuse = lambda _key, path: (403, "AccessDenied") if "/mine/" not in path else None
    address = StoreAddress(url=f"s3://{BUCKET}/mine", endpoint=faults.endpoint)
    address.refuse_objects_above(1.0)
    assert faults.seen == []


def test_one_object_is_copied_with_keys_that_may_not_list(
    radosgw: S3Server, faults: Faults, engine: str, tmp_path: Path
) -> None:
    """As keys that were made for reading, or writing, objects alone."""
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=1)
    store.put("x", b"1")
    faults.add(status(403, "AccessDenied"), path="max-keys", passes=False)
    fetch_one(store, "x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"1"
    assert send_one(tmp_path / "x", store, "y").reused == 0
    assert store.read("y") == b"1"
    with pytest.raises(StoreRefused, match="access denied"):
        fetch_tree(store, tmp_path / "tree")


def test_a_data_set_of_one_file_is_no_folder() -> None:
    store = open_store(f"memory://{uuid.uuid4().hex}/some")
    store.put("data", b"1")
    address = StoreAddress(url=f"{store.url}/data")
    assert single_file(address) is not None
    store.put("data/x", b"2")
    with pytest.raises(StoreError, match="a folder of this name"):
        single_file(address)


def test_a_marker_with_content_is_named(radosgw: S3Server, tmp_path: Path) -> None:
    """Consoles make empty objects `folder/`; one that holds bytes is data, and can't be a file."""
    store = open_on(radosgw)
    folder = store.url.partition(f"{BUCKET}/")[2]
    client = radosgw.client()
    store.put("x", b"1")
    store.put("sub/x", b"1")
    for key in (f"{folder}/", f"{folder}/sub/"):
        client.put_object(Bucket=BUCKET, Key=key, Body=b"")
        assert fetch_tree(store, tmp_path / "tree").files == 2
        client.put_object(Bucket=BUCKET, Key=key, Body=b"content")
        for fetch in (
            lambda: fetch_tree(store, tmp_path / "other"),
            lambda: take_listing(store, tmp_path, folds=False),
        ):
            with pytest.raises(StoreError) as caught:
                fetch()
            assert "/" in str(caught.value)
        client.delete_object(Bucket=BUCKET, Key=key)
    assert not list((tmp_path / "other").iterdir())


def test_a_folder_on_this_machine_where_a_file_belongs(both: ObjectStore, tmp_path: Path) -> None:
    both.put("a/x", b"1")
    both.put("b", b"2")
    (tmp_path / "b").mkdir()
    for force in (False, True):
        with pytest.raises(UsageError, match="something else is there"):
            fetch_tree(both, tmp_path, force=force)
    (tmp_path / "b").rmdir()
    (tmp_path / "a").write_text("a file where a folder belongs")
    for force in (False, True):
        with pytest.raises(StoreError):
            fetch_tree(both, tmp_path, force=force)
    assert (tmp_path / "a").read_text() == "a file where a folder belongs"


def test_ls_escapes_what_could_drive_a_terminal(
    capsys: pytest.CaptureFixture[str], radosgw: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_on(radosgw)
    folder = store.url.partition(f"{BUCKET}/")[2]
    for key in ("\x1b[31mred", "new\nline", "\u202eturned", "sub\x07/x"):
        radosgw.client().put_object(Bucket=BUCKET, Key=f"{folder}/{key}", Body=b"1")
    for name, value in radosgw.env.items():
        monkeypatch.setenv(name, value)
    for option in ([], ["-r"]):
        assert main(["ls", store.url, *option]) == 0
        shown = capsys.readouterr().out
        assert shown.count("\n") == 4
        assert all(each in shown for each in (r"\x1b[31mred", r"new\x0aline", r"\u202eturned", r"sub\x07/"))
        assert not any(each in shown for each in "\x1b\x07\u202e")
