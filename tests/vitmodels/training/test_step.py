"""The compiled step against numpy in float64: gradients, clipping, optimisers, averaging, loss scale."""

from __future__ import annotations

import time
from dataclasses import replace

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from tests.vitmodels.training.reference import Linear, Reference, batch_of, recipe_of
from vitmodels.config import Recipe
from vitmodels.training.optim import Update, adam_scalars, decayed_first, decays
from vitmodels.training.trainer import LossScale, StepResult, Trainer

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("graph_mode")]


def compare(recipe: Recipe, steps: int = 4) -> tuple[Trainer, Reference]:
    model = Linear()
    reference = Reference(recipe, model)
    trainer = Trainer(model, recipe, 1)
    for step in range(steps):
        micros = [batch_of(step * recipe.accumulate + micro, recipe) for micro in range(recipe.accumulate)]
        lr = 0.01 / (step + 1)
        result = trainer.step(micros, lr, False)
        assert result.loss == pytest.approx(reference.step(micros, lr), rel=1e-4)
    for name, value in trainer.weights().items():
        np.testing.assert_allclose(value, reference.p[name], atol=2e-5, rtol=1e-4)
    return trainer, reference


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"optimizer": "adamw"}, marks=pytest.mark.slow),
        {"optimizer": "adamw", "clip_global_norm_value": 0.5, "ema": 0.9, "weight_decay": 0.3},
        {"optimizer": "adam_weight_decay", "epsilon": 1e-6, "layer_decay": 0.8},
        {"optimizer": "adamw", "amp_level": "O1", "clip_global_norm_value": 0.5, "ema": 0.9},
        {"optimizer": "momentum", "weight_decay": 0.1, "accumulate": 3, "clip_global_norm_value": 0.5},
        {"optimizer": "momentum", "mix_up": 0.8, "cutmix": 1.0, "mixup_mode": "elem"},
    ],
    ids="-".join,
)
def test_training_is_the_formulas(changes: dict[str, object]) -> None:
    trainer, reference = compare(recipe_of(**changes))
    for name in reference.ema if "ema" in changes else ():
        np.testing.assert_allclose(trainer.state()[f"ema.{name}"], reference.ema[name], atol=2e-5)


def test_adam_weight_decay_is_mindspores() -> None:
    recipe = recipe_of(optimizer="adam_weight_decay", epsilon=1e-6, weight_decay=0.1)
    model, twin = Linear(), Linear()
    groups = [{"params": [twin.weight], "weight_decay": 0.1}, {"params": [twin.bias], "weight_decay": 0.0}]
    optimiser = nn.AdamWeightDecay(groups, learning_rate=0.01, eps=1e-6)
    trainer, reference = Trainer(model, recipe, 1), Reference(recipe, Linear())
    for step in range(3):
        batch = batch_of(step, recipe)
        reference.p = {
            "weight": twin.weight.asnumpy().astype(float),
            "bias": twin.bias.asnumpy().astype(float),
        }
        _, grads = reference.gradient(batch)
        optimiser(tuple(ms.Tensor(grads[name].astype(np.float32)) for name in ("weight", "bias")))
        trainer.step([batch], 0.01, False)
    np.testing.assert_allclose(trainer.weights()["weight"], twin.weight.asnumpy(), atol=1e-5)


def test_an_overflow_changes_nothing_and_halves_the_scale() -> None:
    recipe = recipe_of(amp_level="O1", loss_scale=2.0**20, loss_scale_window=2)
    trainer = Trainer(Linear(), recipe, 1)
    before, state = trainer.weights(), trainer.state()
    trainer.scale.value = 2.0**126
    batch = batch_of(0, recipe)
    result = trainer.step([replace(batch, targets=batch.targets * 1e6)], 0.1, False)
    assert not result.finite
    assert trainer.scale.value == 2.0**125
    for name, value in trainer.weights().items():
        np.testing.assert_array_equal(value, before[name])
    np.testing.assert_array_equal(trainer.state()["m.weight"], state["m.weight"])
    assert trainer.updates == 0
    trainer.scale.value = 1024.0
    assert trainer.step([batch_of(0, recipe)], 0.1, False).finite
    assert trainer.updates == 1
    assert np.abs(trainer.weights()["weight"] - before["weight"]).max() > 0.01


def test_a_copy_can_be_overwritten_by_the_next_one() -> None:
    recipe = recipe_of(optimizer="adamw", ema=0.9)
    trainer = Trainer(Linear(), recipe, 1)
    weights, state = trainer.weights({}), trainer.state({})
    arrays = {**weights, **state}
    trainer.step([batch_of(0, recipe)], 0.1, False)
    before = {name: value.copy() for name, value in arrays.items()}
    assert trainer.weights(weights) is weights
    assert trainer.state(state) is state
    for name, value in {**trainer.weights(), **trainer.state()}.items():
        found = {**weights, **state}[name]
        np.testing.assert_array_equal(found, value)
        assert not np.shares_memory(found, value)
        if name in ("weight", "m.weight", "ema.weight"):
            assert found is arrays[name]
            assert np.abs(found - before[name]).max() > 0


def test_the_loss_scale_grows_after_its_window_and_has_limits() -> None:
    scale = LossScale(1024.0, True, 3)
    for _ in range(3):
        scale.adjust(True)
    assert scale.value == 2048.0
    for _ in range(30):
        scale.adjust(False)
    assert scale.value == 1.0
    fixed = LossScale(1024.0, False, 1)
    fixed.adjust(True)
    fixed.adjust(False)
    assert fixed.value == 1024.0
    for level in ("O0", "bf16"):
        assert LossScale.from_recipe(recipe_of(loss_scale=512.0, amp_level=level)).value == 1.0


def test_the_scale_does_not_change_the_update() -> None:
    weights = []
    for value in (1.0, 4096.0):
        trainer = Trainer(
            Linear(), recipe_of(amp_level="O1", loss_scale=value, clip_global_norm_value=0.3), 1
        )
        trainer.step([batch_of(0, trainer.recipe)], 0.1, False)
        weights.append(trainer.weights()["weight"])
    np.testing.assert_allclose(weights[0], weights[1], atol=1e-6)


def test_a_stop_flag_comes_back() -> None:
    trainer = Trainer(Linear(), recipe_of(), 1)
    assert not trainer.step([batch_of(0, trainer.recipe)], 0.1, False).stop
    assert trainer.step([batch_of(0, trainer.recipe)], 0.1, True).stop


def test_state_restores_training_to_the_bit() -> None:
    recipe = recipe_of(ema=0.9, amp_level="O1", loss_scale=64.0)

    def run(trainer: Trainer, steps: range) -> StepResult:
        for step in steps:
            result = trainer.step([batch_of(step, recipe)], 0.01, False)
        return result

    whole = Trainer(Linear(), recipe, 1)
    run(whole, range(3))
    weights, state = whole.weights(), whole.state()
    run(whole, range(3, 5))
    other = Trainer(Linear(), recipe, 1)
    other.load(weights, state)
    run(other, range(3, 5))
    for one, two in ((whole.weights(), other.weights()), (whole.state(), other.state())):
        assert one.keys() == two.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])


def test_which_parameters_decay() -> None:
    assert decays("blocks.0.attn.qkv.weight", (96, 32))
    assert not decays("blocks.0.attn.qkv.bias", (96,))
    assert not decays("norm.weight", (32,))
    for name in ("cls_token", "pos_embed", "pixel_pos", "patch_pos"):
        assert not decays(name, (1, 5, 32))


def test_parameters_with_decay_come_first() -> None:
    zeros = ms.Tensor(np.zeros((2, 2), np.float32))
    params = [ms.Parameter(zeros, name=name) for name in ("pos_embed", "a.weight", "cls_token", "b.weight")]
    assert [param.name for param in decayed_first(params)] == [
        "a.weight",
        "b.weight",
        "pos_embed",
        "cls_token",
    ]


@pytest.mark.parametrize("update", [1, 2, 1000])
def test_the_fused_scalars_are_exactly_adamw(update: int) -> None:
    recipe = recipe_of(epsilon=1e-3, weight_decay=0.2)
    rate, eps, decay = adam_scalars(recipe, 0.01, update)
    m, v, p = 0.3, 0.04, 2.0
    c1, c2 = 1 - 0.9**update, 1 - 0.999**update
    wanted = 0.01 * (m / c1) / (np.sqrt(v / c2) + 1e-3) + 0.01 * 0.2 * p
    assert rate * (m / (np.sqrt(v) + eps) + decay * p) == pytest.approx(wanted)
    assert adam_scalars(recipe, 0.0, update)[2] == 0.0


@pytest.mark.slow
def test_an_update_of_many_parameters_compiles_quickly() -> None:
    names = [f"layers.{i}.weight" for i in range(250)]
    params = [
        ms.Parameter(ms.Tensor(np.ones((2, 1 + i % 7), np.float32)), name=name)
        for i, name in enumerate(names)
    ]
    update = Update(params, names, recipe_of())
    grads = tuple(ms.Tensor(np.ones(param.shape, np.float32)) for param in params)
    begin = time.process_time()
    update(grads, ms.Tensor(1.0, ms.float32), ms.Tensor([0.5, 0.0, 0.0], ms.float32)).asnumpy()
    assert time.process_time() - begin < 60, "two minutes is what unrolling a loop over the parameters takes"
    for param in params:  # m / sqrt(v) of the first update without bias correction
        np.testing.assert_allclose(param.asnumpy(), 1 - 0.5 * 0.1 / np.sqrt(0.001), rtol=1e-4)
