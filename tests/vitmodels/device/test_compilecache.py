"""With a folder for each combination, the compile cache is used when nothing changed, and never wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vitmodels.device.compilecache import ENABLE, PATH, _locks, cache_key, seal, separate_cache

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
    for lock in _locks:
        lock.close()  # as if this process had ended
    _locks.clear()
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
