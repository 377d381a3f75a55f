"""A training that diverges: what it ends with, and that nothing of it is saved."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from launcher.diagnosis.verdict import Ended, find_first
from tests.vitmodels.training.scene import STEPS, Scene
from vitmodels.errors import Diverged
from vitmodels.training.position import Position

pytestmark = pytest.mark.usefixtures("no_compile_cache")


def test_a_training_that_learns_is_evaluated_and_saved(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [1.0] * STEPS)
    assert scene.loop.run()
    assert (scene.evaluated, scene.saved()) == (1, [STEPS])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_loss_in_the_last_epoch_ends_it_before_it_is_evaluated(tmp_path: Path, bad: float) -> None:
    scene = Scene(tmp_path, [1.0, 1.0, 1.0, bad])
    with pytest.raises(Diverged, match=f"the loss is {bad} in epoch 1"):
        scene.loop.run()
    assert (scene.evaluated, scene.saved()) == (0, [])


def test_weights_that_the_last_update_spoilt_are_neither_evaluated_nor_saved(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [1.0] * STEPS, math.nan)
    with pytest.raises(Diverged, match="the weights are not finite"):
        scene.loop.run()
    assert (scene.evaluated, scene.saved()) == (0, [])


def test_bad_weights_are_not_saved_within_an_epoch(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [1.0] * STEPS, math.inf, save_every_steps=2)
    with pytest.raises(Diverged, match="after step 2"):
        scene.loop.run()
    assert scene.saved() == []


@pytest.mark.parametrize("what", ["the loss is nan in epoch 1 (step 44)", "the loss is nan after step 44"])
def test_its_message_has_the_rule_of_a_loss_that_is_not_finite(what: str) -> None:
    found = find_first([Ended("rank 0", 0, 1, 0.0, f"train: 64 images\n{Diverged(what)}\n")])
    assert (found.rule.id, found.repeats) == ("not-finite", True)


def test_the_mean_leaves_out_updates_that_the_loss_scale_skipped() -> None:
    at = Position(3)
    for loss, applied in ((1.0, True), (math.nan, False), (3.0, False)):
        at.index += 1
        at.add_loss(loss, applied=applied)
    assert at.loss == 2.0
    at.next_epoch()
    at.index = 1
    at.add_loss(math.nan, applied=False)
    assert math.isnan(at.loss), "no update of the epoch has a loss"
