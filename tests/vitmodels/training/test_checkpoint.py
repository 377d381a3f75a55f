"""Checkpoint sets: complete or absent, newest by number, damaged ones skipped by a resumed training."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vitmodels.errors import CheckpointError
from vitmodels.training import checkpoint as ck
from vitmodels.training.saver import clean


def snapshot(step: int, size: int = 8) -> ck.Snapshot:
    weights = {"a.weight": np.full((size, 2), step, np.float32), "b": np.arange(3, dtype=np.float32)}
    state = {
        "m.b": np.ones(3, np.float32),
        "trainer": np.array([step, 1]),
        "ema.b": np.full(3, 5, np.float32),
    }
    return ck.Snapshot(step, step // 10, "vit_digits", weights, state, {"top1": 0.5}, {"index": 0})


def test_a_set_comes_back_to_the_bit(tmp_path: Path) -> None:
    path = ck.write_set(tmp_path, snapshot(12))
    found = ck.read_set(path)
    assert found is not None
    found.verify()
    assert (found.step, found.epoch, found.manifest["metrics"]) == (12, 1, {"top1": 0.5})
    np.testing.assert_array_equal(found.weights()["a.weight"], np.full((8, 2), 12, np.float32))
    np.testing.assert_array_equal(found.averages()["b"], np.full(3, 5, np.float32))
    np.testing.assert_array_equal(found.state()["trainer"], [12, 1])
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-12"]


def test_the_newest_is_the_highest_number_not_the_last_name(tmp_path: Path) -> None:
    for step in (9, 10, 100, 99):
        ck.write_set(tmp_path, snapshot(step))
    found, skipped = ck.newest_set(tmp_path)
    assert found is not None
    assert found.step == 100
    assert skipped == []


@pytest.mark.parametrize(
    "damage", ["manifest", "truncated", "missing", "flipped", "wrong step", "empty manifest"]
)
def test_a_damaged_set_is_skipped_and_named(tmp_path: Path, damage: str) -> None:
    ck.write_set(tmp_path, snapshot(1))
    path = ck.write_set(tmp_path, snapshot(2))
    model = path / ck.MODEL_FILE
    if damage == "manifest":
        (path / ck.MANIFEST).unlink()
    elif damage == "truncated":
        model.write_bytes(model.read_bytes()[:-1])
    elif damage == "missing":
        (path / ck.STATE_FILE).unlink()
    elif damage == "flipped":
        data = bytearray(model.read_bytes())
        data[-1] ^= 1
        model.write_bytes(data)
    elif damage == "wrong step":
        path.rename(tmp_path / "step-3")
    else:
        (path / ck.MANIFEST).write_text("{}")
    found, skipped = ck.newest_set(tmp_path)
    assert found is not None
    assert found.step == 1
    assert [one.path.name for one in skipped] == ["step-3" if damage == "wrong step" else "step-2"]
    assert "is skipped: " in str(skipped[0])


@pytest.mark.parametrize("name", [ck.MODEL_FILE, ck.STATE_FILE])
def test_whoever_reads_a_file_compares_it_with_the_manifest(tmp_path: Path, name: str) -> None:
    one = ck.read_set(ck.write_set(tmp_path, snapshot(2)))
    assert one is not None
    data = bytearray((one.path / name).read_bytes())
    data[-1] ^= 1
    (one.path / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=f"{name} is not what the manifest says"):
        one.weights() if name == ck.MODEL_FILE else one.averages()


def test_a_set_can_be_written_again(tmp_path: Path) -> None:
    ck.write_set(tmp_path, snapshot(4))
    ck.write_set(tmp_path, snapshot(4))
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-4"]


WRITER = """
import sys
import threading
from pathlib import Path
from typing import Any
import numpy as np
from vitmodels.training import checkpoint as ck
from vitmodels.training.saver import prune
weights = {"w": np.arange(2_000_000, dtype=np.float32)}
for step in range(1, 100000):
    ck.write_set(Path(sys.argv[1]), ck.Snapshot(step, 0, "vit_digits", weights, {"s": np.zeros(1)}))
    prune(Path(sys.argv[1]), 2)
    print(step, flush=True)
"""


@pytest.mark.system
def test_a_writer_killed_anywhere_leaves_a_complete_set(tmp_path: Path) -> None:
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(3):
                step = int(writer.stdout.readline())
            time.sleep(0.01 * attempt)
            writer.kill()
        found, _ = ck.newest_set(folder)
        assert found is not None
        assert found.step >= step
        clean(folder)
        assert [path for path in folder.iterdir() if path.name.startswith(".")] == []
