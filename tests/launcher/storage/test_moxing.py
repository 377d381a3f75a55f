"""obs:// through moxing: chosen by name, refused when it is another package, and never trusted."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest

from launcher.dataset.plain import stage
from launcher.errors import IntegrityError, NotFound, StoreUnreachable, UsageError
from launcher.results.collector import Collector
from launcher.results.fetch import fetch
from launcher.storage import ObjectStore, open_store
from tests.fakes.moxing_file import MoxingFile
from tests.servers.rundir import RunDir


@pytest.fixture
def moxing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MoxingFile:
    (tmp_path / "obs").mkdir()
    file = MoxingFile(tmp_path / "obs")
    module = types.ModuleType("moxing")
    module.file = file  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "moxing", module)
    monkeypatch.setenv("LAUNCHER_OBS_CLIENT", "moxing")
    return file


@pytest.fixture
def store(moxing: MoxingFile) -> ObjectStore:
    return open_store("obs://bucket/some/folder", patience_s=0.3)


def test_it_is_a_store_like_others(store: ObjectStore, tmp_path: Path) -> None:
    assert list(store.list()) == []
    store.put("b/é 1", b"one")
    store.put("b-x", b"2")
    (tmp_path / "up").write_bytes(os.urandom(3 << 20))
    counts: list[int] = []
    store.put_file("a", tmp_path / "up", on_bytes=counts.append)
    store.put_file("log", tmp_path / "up", length=1000)
    assert [(info.key, info.size) for info in store.list()] == [
        ("a", 3 << 20),
        ("b-x", 1),
        ("b/é 1", 3),
        ("log", 1000),
    ]
    assert [info.key for info in store.substore("b").list()] == ["é 1"]
    assert [store.read("b/é 1"), store.read("b/é 1", 1, 1), store.read("b/é 1", 9)] == [b"one", b"n", b""]
    store.get_file("a", tmp_path / "down", store.head("a"))
    assert (tmp_path / "down").read_bytes() == (tmp_path / "up").read_bytes()
    store.delete("a")
    store.delete("a")
    assert store.head("a") is None
    assert store.head("b") is None, "a folder is no object"
    with pytest.raises(NotFound):
        store.read("a")
    assert counts == [3 << 20]


def test_a_run_and_a_data_set(store: ObjectStore, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.checkpoint(10)
    collector = Collector(run.root, store.substore("run"), attempt=1)
    collector.sync(final=True)
    collector.commit({})
    assert fetch(store.substore("run"), tmp_path / "out").committed
    data = store.substore("data")
    data.put("train/a/1.jpg", b"x")
    assert (stage(data, tmp_path / "cache").path / "train/a/1.jpg").read_bytes() == b"x"


def test_it_is_not_trusted(store: ObjectStore, moxing: MoxingFile, tmp_path: Path) -> None:
    real = moxing.copy

    def torn(source: str, target: str) -> None:
        real(source, target)
        path = moxing._path(target)
        path.write_bytes(path.read_bytes()[:-1] + b"?")

    moxing.copy = torn  # type: ignore[method-assign]
    (tmp_path / "up").write_bytes(b"0123456789")
    with pytest.raises(IntegrityError, match="read back"):
        store.put_file("x", tmp_path / "up")
    with pytest.raises(IntegrityError, match="sha256"):
        store.get_file("x", tmp_path / "down", sha256="0" * 64)
    assert not (tmp_path / "down").exists()


@pytest.mark.parametrize("times", [2, 1000])
def test_its_troubles_are_retried_and_named(
    store: ObjectStore, moxing: MoxingFile, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    left = [times]
    monkeypatch.setattr("launcher.storage.backoff.random.uniform", lambda low, high: 0.01)

    def fail(name: str) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise RuntimeError("http://signed.example/?secret=abc")

    moxing.trouble = fail
    if times == 2:
        store.put("x", b"1")
        assert store.read("x") == b"1"
        return
    with pytest.raises(StoreUnreachable) as caught:
        store.put("x", b"1")
    assert "RuntimeError" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_another_package_of_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHER_OBS_CLIENT", "moxing")
    monkeypatch.setitem(sys.modules, "moxing", types.ModuleType("moxing"))
    with pytest.raises(UsageError, match="not Huawei's"):
        open_store("obs://bucket/x")
    monkeypatch.setitem(sys.modules, "moxing", None)
    with pytest.raises(UsageError, match="not installed"):
        open_store("obs://bucket/x")
    monkeypatch.setenv("LAUNCHER_OBS_CLIENT", "obsutil")
    with pytest.raises(UsageError, match="one of boto3, moxing"):
        open_store("obs://bucket/x", endpoint="http://127.0.0.1:1")


def test_without_the_word_it_is_boto3(moxing: MoxingFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAUNCHER_OBS_CLIENT")
    assert "S3Store" in repr(open_store("obs://bucket/x", endpoint="http://127.0.0.1:1"))
    monkeypatch.setenv("LAUNCHER_OBS_CLIENT", "moxing")
    assert "S3Store" in repr(open_store("s3://bucket/x", endpoint="http://127.0.0.1:1"))
