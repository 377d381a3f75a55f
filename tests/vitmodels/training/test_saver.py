"""Sets are written beside training, gently until somebody waits for them, and none is lost."""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.vitmodels.training.scene import STEPS, Scene
from tests.waiting import PATIENCE_S, wait_until
from vitmodels.errors import CheckpointError
from vitmodels.training import checkpoint as ck
from vitmodels.training import loop as loop_module
from vitmodels.training import saver as saver_module
from vitmodels.training.saver import GENTLE, PRIORITY, Saver

pytestmark = pytest.mark.usefixtures("no_compile_cache")


def snapshot(step: int) -> ck.Snapshot:
    weights = {"a.weight": np.full((8, 2), step, np.float32), "b": np.arange(3, dtype=np.float32)}
    extra = {"index": 0, "classes": ["one", "two"], "class_order": "text"}
    return ck.Snapshot(step, step // 10, "vit_digits", weights, {"s": np.array([step, 1])}, {}, extra)


class Pieces:
    """Takes the place of `set_pieces`: the gentle writer stays in piece `held` until somebody waits for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
        self.held, self.reached = held, threading.Event()
        self.writers: list[tuple[str, int]] = []
        self.saver: Saver | None = None
        monkeypatch.setattr(saver_module, "set_pieces", self._pieces)

    def _pieces(self, folder: Path, snapshot: ck.Snapshot) -> Iterator[None]:
        for number, _ in enumerate(ck.set_pieces(folder, snapshot)):
            name = threading.current_thread().name
            self.writers.append((name, os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))
            if number == self.held and name == GENTLE:
                self.reached.set()
                assert self.saver is not None
                assert self.saver.hurry.wait(PATIENCE_S)
            yield


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_old_sets_go_and_the_best_stays(tmp_path: Path) -> None:
    saver = Saver(tmp_path, keep=2)
    saver.save(snapshot(1), {"step": 1, "top1": 0.9})
    for step in (2, 3, 10):
        saver.save(snapshot(step))
    saver.join()
    assert [one.step for one in ck.list_sets(tmp_path)] == [1, 3, 10]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.json", "step-1", "step-10", "step-3"]


@pytest.mark.parametrize("held", range(6))
def test_the_rest_of_a_set_somebody_waits_for_is_written_at_once_and_is_the_same_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    ck.write_set(tmp_path / "alone", snapshot(1))
    pieces = Pieces(monkeypatch, held)
    saver = pieces.saver = Saver(tmp_path / "beside", keep=5)
    saver.save(snapshot(1))
    assert pieces.reached.wait(PATIENCE_S)
    assert saver.busy
    assert ck.newest_set(tmp_path / "beside")[0] is None, "saving returns before the set is there"
    saver.join()
    assert not saver.busy
    assert content(tmp_path / "beside") == content(tmp_path / "alone")
    names = [name for name, _ in pieces.writers]
    assert names == [GENTLE] * (held + 1) + ["checkpoint"] * (len(names) - held - 1)
    assert len(names) == 6, "the test holds the writer in each piece"


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
def test_the_writer_has_a_low_priority_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    pieces = Pieces(monkeypatch, 2)
    saver = pieces.saver = Saver(tmp_path, keep=5)
    saver.save(snapshot(1))
    assert pieces.reached.wait(PATIENCE_S)
    saver.join()
    priorities = dict(pieces.writers)
    assert priorities == {GENTLE: PRIORITY, "checkpoint": before}


def test_a_set_is_not_held_back_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saver_module, "GIVES_WAY_S", -1.0)
    pieces = Pieces(monkeypatch, -1)
    saver = Saver(tmp_path, keep=5)
    saver.save(snapshot(1))
    for thread in threading.enumerate():
        if thread.name == "checkpoint":
            thread.join(PATIENCE_S)
    assert not saver.hurry.is_set()
    assert [name for name, _ in pieces.writers] == [GENTLE] + ["checkpoint"] * 5
    assert [one.step for one in ck.list_sets(tmp_path)] == [1]


def test_the_gentle_writer_pauses_for_a_multiple_of_its_work_until_somebody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver_module, "SHARE", 1e-12)
    monkeypatch.setattr(saver_module, "GIVES_WAY_S", 1e6)
    pieces = Pieces(monkeypatch, -1)
    saver = Saver(tmp_path, keep=5)
    saver.save(snapshot(1))
    wait_until(lambda: pieces.writers)
    saver.join()
    assert [name for name, _ in pieces.writers] == [GENTLE] + ["checkpoint"] * 5
    assert [one.step for one in ck.list_sets(tmp_path)] == [1]


def test_a_failed_save_is_raised_at_the_next_call(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    saver = Saver(tmp_path / "file", keep=5)
    saver.save(snapshot(1))
    with pytest.raises(CheckpointError, match="can't write a checkpoint"):
        saver.join()
    saver.join()


def full_disk(folder: Path, snapshot: ck.Snapshot) -> Iterator[None]:
    yield
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_failed_save_ends_a_training_at_its_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver_module, "set_pieces", full_disk)
    scene = Scene(tmp_path, [1.0] * STEPS, save_every_steps=2)

    def wait(step: int) -> None:
        for thread in threading.enumerate():
            if thread.name == "checkpoint":
                thread.join(PATIENCE_S)

    scene.before_step = wait
    with pytest.raises(CheckpointError, match=r"can't write a checkpoint: .*No space left"):
        scene.loop.run()
    assert scene.loop.at.step == 2, "the third step does not count"


def test_a_training_that_fails_keeps_the_set_that_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = Pieces(monkeypatch, 1)
    scene = Scene(tmp_path, [1.0] * STEPS, save_every_steps=2)
    pieces.saver = scene.loop.saver

    def fail(step: int) -> None:
        if step == 3:
            assert pieces.reached.wait(PATIENCE_S)
            assert scene.saved() == []
            raise OSError("the data are gone")

    scene.before_step = fail
    with pytest.raises(OSError, match="the data are gone"):
        scene.loop.run()
    assert scene.saved() == [2]


def test_a_training_that_fails_beside_a_save_that_fails_tells_of_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver_module, "set_pieces", full_disk)
    scene = Scene(tmp_path, [1.0] * STEPS, save_every_steps=2)

    def fail(step: int) -> None:
        if step == 3:
            raise OSError("the data are gone")

    scene.before_step = fail
    with pytest.raises(OSError, match="the data are gone"):
        scene.loop.run()
    assert any("No space left" in text for text in notes(tmp_path))


def test_a_training_that_waits_long_for_a_save_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Scene(tmp_path / "fast", [1.0] * STEPS, save_every_steps=1).loop.run()
    assert notes(tmp_path / "fast") == []
    monkeypatch.setattr(loop_module, "LONG_WAIT_S", -1.0)
    assert Scene(tmp_path / "slow", [1.0] * STEPS, save_every_steps=1).loop.run()
    assert notes(tmp_path / "slow")[0].startswith("training waited 0.0 s for the checkpoint before: ")


def notes(folder: Path) -> list[str]:
    lines = (folder / "progress" / "rank-0.jsonl").read_text().splitlines()
    return [event["text"] for event in map(json.loads, lines) if event["event"] == "note"]


def test_ranks_that_are_stopped_settle_before_one_of_them_ends(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [1.0] * STEPS)
    scene.loop.stop_wanted = lambda: True
    assert not scene.loop.run()
    assert (scene.events, scene.saved()) == (["copied", "settled"], [1])


def test_a_rank_that_is_gone_when_the_others_are_stopped_costs_no_checkpoint(tmp_path: Path) -> None:
    def lose_a_rank() -> None:
        raise RuntimeError("AllReduce failed")

    scene = Scene(tmp_path, [1.0] * STEPS)
    scene.loop.stop_wanted, scene.settle = lambda: True, lose_a_rank
    with pytest.raises(RuntimeError, match="AllReduce"):
        scene.loop.run()
    assert scene.saved() == [1]
