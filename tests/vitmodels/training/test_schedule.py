"""Learning rates against formulas written another way."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from vitmodels.recipe_file import make_recipe
from vitmodels.training.schedule import learning_rate

BASE = {
    "arch": "vit_digits",
    "base_lr": 0.1,
    "lr_scale": "none",
    "warmup_lr": 0.01,
    "min_lr": 0.001,
    "epochs": 10,
}


def rates(per_epoch: int = 4, **changes: object) -> list[float]:
    recipe = make_recipe({**BASE, **changes})
    return [learning_rate(recipe, step, per_epoch, 1) for step in range(recipe.epochs * per_epoch)]


def test_warm_up_is_a_straight_line_to_the_peak() -> None:
    found = rates(warmup_length=2)
    assert found[0] == pytest.approx(0.01)
    assert found[8] == pytest.approx(0.1)
    steps = [b - a for a, b in pairwise(found[:9])]
    assert steps == pytest.approx([0.09 / 8] * 8)


def test_the_cosine_is_symmetric_around_its_middle() -> None:
    found = rates()
    for step in range(41):
        mirrored = learning_rate(make_recipe(BASE), 40 - step, 4, 1)
        assert learning_rate(make_recipe(BASE), step, 4, 1) + mirrored == pytest.approx(0.101)
    assert found[20] == pytest.approx(0.0505)
    assert found[10] == pytest.approx(0.001 + 0.099 * (2 + math.sqrt(2)) / 4)
    assert all(a > b for a, b in pairwise(found))


def test_milestones_multiply() -> None:
    found = rates(lr_scheduler="multistep_lr", lr_epochs=[3, 6], lr_gamma=0.5)
    assert found == pytest.approx([0.1] * 12 + [0.05] * 12 + [0.025] * 16)


def test_exponential_and_constant() -> None:
    found = rates(lr_scheduler="exp_lr", lr_gamma=0.9)
    assert found[::4] == pytest.approx([0.1 * 0.9**epoch for epoch in range(10)])
    assert set(rates(lr_scheduler="constant_lr")) == {0.1}


def test_the_rate_grows_with_the_global_batch() -> None:
    recipe = make_recipe({**BASE, "lr_scale": "linear", "batch_size": 128})
    assert learning_rate(recipe, 0, 4, 8) == pytest.approx(0.2)


def test_a_warm_up_longer_than_training_never_reaches_the_peak() -> None:
    assert max(rates(warmup_length=20)) < 0.1
