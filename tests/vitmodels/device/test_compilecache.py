"""With a folder for each combination, the compile cache is used when nothing changed, and never wrong."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vitmodels.device import compat
from vitmodels.device.compilecache import (
    ENABLE,
    LOCK,
    PATH,
    SEAL,
    UNUSED_S,
    _locks,
    cache_key,
    drop_unused,
    seal,
    separate_cache,
)

pytestmark = pytest.mark.system

PROGRAM = """
import sys
import numpy as np
from vitmodels.device.compilecache import seal, separate_cache

def main():
    arch, batch = sys.argv[1], int(sys.argv[2])
    cache = separate_cache("test", {"arch": arch, "batch": batch})
    import mindspore as ms
    from vitmodels.nets.registry import create_model

    ms.set_context(mode=ms.GRAPH_MODE)
    net = create_model(arch, num_classes=3)
    images = np.random.default_rng(0).standard_normal((batch, 3, 32, 32), np.float32)
    cached = net(ms.Tensor(images)).asnumpy()
    seal(cache)
    ms.set_context(mode=ms.PYNATIVE_MODE)
    print(cached.shape == (batch, 3) and bool(np.abs(cached - net(ms.Tensor(images)).asnumpy()).max() < 1e-5))

main()
"""


def test_another_architecture_or_batch_never_gets_a_wrong_graph(tmp_path: Path) -> None:
    pytest.importorskip("mindspore")
    (tmp_path / "program.py").write_text(PROGRAM)
    cache = tmp_path / "cache"
    root = Path(__file__).parents[3]
    env = {**os.environ, "GLOG_v": "3", ENABLE: "1", PATH: str(cache), "PYTHONPATH": str(root)}

    def right(arch: str, batch: int) -> bool:
        command = [sys.executable, "program.py", arch, str(batch)]
        done = subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True, text=True)
        return done.stdout.split() == ["True"]

    def graphs() -> int:
        return len(list(cache.rglob("*.mindir")))

    assert right("vit_digits", 2)
    first = graphs()
    assert first > 0
    assert right("vit_digits", 2)
    assert graphs() == first, "nothing changed, so nothing is compiled anew"
    assert right("vit_digits", 3)
    assert graphs() > first


def test_key_depends_on_everything(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1")

    def key(program: str = "train", batch: int = 1) -> str:
        return cache_key(program, {"batch": batch}, tmp_path)

    keys = [key(), key("evaluate"), key(batch=2)]
    (tmp_path / "a.py").write_text("x = 2")
    keys.append(key())
    for name in ("b.py", "c.cpp", "d.h"):
        (tmp_path / name).write_text("")
        keys.append(key())
    assert len(set(keys)) == len(keys)
    assert key() == keys[-1]


def test_off_unless_the_user_turned_it_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATH, str(tmp_path))
    monkeypatch.delenv(ENABLE, raising=False)
    assert separate_cache("train", {}) is None
    seal(None)
    assert os.environ[PATH] == str(tmp_path)


def graph_of(settings: dict[str, int], monkeypatch: pytest.MonkeyPatch, root: Path) -> Path:
    """A file that the process which opens the cache next would take for a graph."""
    monkeypatch.setenv(PATH, str(root))
    monkeypatch.setenv(ENABLE, "1")
    folder = separate_cache("train", settings)
    assert folder is not None and folder.parent == root and Path(os.environ[PATH]).parent == folder
    let_go()
    return Path(os.environ[PATH]) / "compile_cache_0.mindir"


@pytest.mark.parametrize("damage", ["none", "unsealed", "torn", "one more"])
def test_what_was_not_complete_is_not_used(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = graph_of({}, monkeypatch, tmp_path)
    graph.write_bytes(b"a graph")
    if damage != "unsealed":
        seal(graph.parents[1])
    if damage == "torn":
        graph.write_bytes(b"a gra")
    if damage == "one more":
        graph.with_name("compile_cache_1.mindir").write_bytes(b"another")
    assert graph_of({}, monkeypatch, tmp_path) == graph
    assert graph.exists() == (damage == "none")


def test_two_processes_never_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATH, str(tmp_path))
    monkeypatch.setenv(ENABLE, "1")
    first = separate_cache("train", {})
    monkeypatch.setenv(PATH, str(tmp_path))
    assert separate_cache("train", {}) is None
    assert os.environ[ENABLE] == "0"
    monkeypatch.setenv(ENABLE, "1")
    other = separate_cache("train", {"batch_size": 2})
    assert None not in (first, other) and first != other


@pytest.fixture
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where graphs go when nobody has named a folder."""
    monkeypatch.setenv(ENABLE, "1")
    monkeypatch.setenv(PATH, "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield tmp_path / "vitmodels" / "graphs"
    let_go()


def let_go() -> None:
    """As if this process had ended."""
    for lock in _locks:
        lock.close()
    _locks.clear()


def test_without_a_named_folder_graphs_go_to_the_users_cache(user_cache: Path) -> None:
    folder = separate_cache("train", {})
    assert folder is not None and folder.parent == user_cache
    assert user_cache.stat().st_mode & 0o77 == 0


@pytest.mark.parametrize("wrong", ["a file", "others can write"])
def test_training_goes_on_without_the_users_cache_and_not_without_a_named_folder(
    wrong: str, user_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_cache.parent.mkdir()
    if wrong == "a file":
        user_cache.write_text("")
    else:
        user_cache.mkdir()
        user_cache.chmod(0o777)
    assert separate_cache("train", {}) is None
    assert os.environ[ENABLE] == "0"
    if wrong == "a file":
        monkeypatch.setenv(ENABLE, "1")
        monkeypatch.setenv(PATH, str(user_cache))
        with pytest.raises(OSError, match=r"directory|exists"):
            separate_cache("train", {})


def test_operators_in_another_folder_are_another_setting(
    user_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = set()
    for path in ("/one/operators-1.so", "/two/operators-1.so", ""):
        monkeypatch.setattr(compat, "kernels_file", lambda path=path: path)
        monkeypatch.setenv(PATH, "")
        found.add(separate_cache("train", {}))
    assert len(found) == 3


def test_graphs_that_nobody_uses_are_removed(user_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {}
    for name in ("in use", "lately", "long ago"):
        monkeypatch.setenv(PATH, "")
        folders[name] = separate_cache(name, {})
        if name != "in use":
            _locks.pop().close()
    assert None not in folders.values()
    for name in ("in use", "long ago"):
        past = time.time() - UNUSED_S - 60
        os.utime(folders[name] / LOCK, (past, past))
    drop_unused(user_cache)
    assert {name for name, folder in folders.items() if folder.exists()} == {"in use", "lately"}
    let_go()
    monkeypatch.setenv(PATH, "")
    separate_cache("in use", {})
    let_go()
    drop_unused(user_cache)
    assert folders["in use"].exists(), "the last use counts"


def test_a_full_disk_ends_no_training_and_leaves_no_seal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = graph_of({}, monkeypatch, tmp_path)
    graph.write_bytes(b"a graph")
    folder = graph.parents[1]
    (folder / f".{SEAL}").symlink_to("/dev/full")
    seal(folder)
    assert not (folder / SEAL).exists()
    assert graph_of({}, monkeypatch, tmp_path) == graph
    assert not graph.exists()
