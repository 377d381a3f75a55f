"""A training that diverges: what it ends with, and that nothing of it is saved."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from launcher.diagnosis.verdict import Ended, find_first
from vitmodels.errors import Diverged
from vitmodels.progress import Progress
from vitmodels.recipe_file import make_recipe
from vitmodels.training.checkpoint import list_sets
from vitmodels.training.loop import Loop
from vitmodels.training.position import Position
from vitmodels.training.report import Reporter
from vitmodels.training.scoring import Score
from vitmodels.training.trainer import StepResult

STEPS = 4


class Scene:
    """A loop over a trainer whose losses and weights are made up."""

    def __init__(self, folder: Path, losses: list[float], weight: float = 1.0, **recipe: Any) -> None:
        self.folder, self.losses, self.weight, self.evaluated = folder, iter(losses), weight, 0
        self.recipe = make_recipe({"arch": "vit_digits", "num_classes": 3, "epochs": 1, **recipe})
        trainer = SimpleNamespace(
            step=lambda micros, lr, stop: StepResult(next(self.losses), stop, True, 1.0),
            weights=lambda: {"w": np.full(3, self.weight, np.float32)},
            state=lambda: {"s": np.zeros(1)},
            scale=SimpleNamespace(value=1.0),
            decayed=1,
        )
        progress = Progress(folder, 0)
        group: Any = SimpleNamespace(
            rank=SimpleNamespace(first=True, id=0),
            size=1,
            device="CPU",
            gather=lambda value: np.array([value]),
        )
        self.loop = Loop(
            self.recipe,
            folder,
            group,
            trainer,  # type: ignore[arg-type]
            SimpleNamespace(slicing=SimpleNamespace(steps=STEPS), epoch=self._epoch),  # type: ignore[arg-type]
            self._evaluate,
            Reporter(progress, epochs=1, total_steps=STEPS, global_batch=1, prints=False),
            lambda: False,
            SimpleNamespace(before=lambda step: None, after=lambda step: None),  # type: ignore[arg-type]
        )

    def _epoch(self, number: int, index: int) -> Iterator[list[Any]]:
        return iter([[]] * (STEPS - index))

    def _evaluate(self) -> Score:
        self.evaluated += 1
        return Score(0.5, 1.0, 4, 0, 0.1)

    def saved(self) -> list[int]:
        return [each.step for each in list_sets(self.folder / "checkpoints")]


@pytest.fixture(autouse=True)
def no_compile_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitmodels.training.loop.separate_cache", lambda name, settings: None)
    monkeypatch.setattr("vitmodels.training.loop.seal", lambda cache: None)


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
