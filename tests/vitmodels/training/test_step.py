"""The compiled step against numpy in float64: gradients, clipping, optimisers, averaging, loss scale."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from vitmodels.config import Recipe
from vitmodels.images.batches import Batch
from vitmodels.images.mixing import Mix, draw_mix, mix_targets, neighbours, smooth_targets
from vitmodels.nets.pixels import mix_images, normalise_layer
from vitmodels.recipe_file import make_recipe
from vitmodels.training.loss import soft_cross_entropy
from vitmodels.training.optim import Update, adam_scalars, decayed_first, decays
from vitmodels.training.trainer import LossScale, StepResult, Trainer

pytestmark = pytest.mark.system

SIDE, CLASSES, BATCH = 8, 3, 4
FEATURES = 3 * SIDE * SIDE


class Linear(nn.Cell):
    """A model that numpy can differentiate: logits = x W^T + b."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(3)
        self.weight = ms.Parameter(
            ms.Tensor(rng.normal(0, 0.1, (CLASSES, FEATURES)).astype(np.float32)), name="weight"
        )
        self.bias = ms.Parameter(ms.Tensor(np.zeros(CLASSES, np.float32)), name="bias")

    def construct(self, images: ms.Tensor, masks: ms.Tensor | None = None) -> ms.Tensor:
        return ms.ops.matmul(images.reshape(images.shape[0], -1), self.weight.T) + self.bias


@pytest.fixture(autouse=True, scope="module")
def graph_mode() -> Any:
    ms.set_context(mode=ms.GRAPH_MODE)
    yield
    ms.set_context(mode=ms.PYNATIVE_MODE)


def recipe_of(**changes: object) -> Recipe:
    base = {
        "arch": "vit_digits",
        "num_classes": CLASSES,
        "batch_size": BATCH,
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
    }
    return make_recipe({**base, "lr_scale": "none", **changes})


def batch_of(seed: int, recipe: Recipe) -> Batch:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (BATCH, SIDE, SIDE, 3), np.uint8)
    targets = smooth_targets(rng.integers(0, CLASSES, BATCH), CLASSES, 0.1)
    mix = None
    if recipe.mixes:
        mix = draw_mix(recipe, seed, np.arange(BATCH), SIDE)
        targets = mix_targets(targets, mix.share)
    return Batch(images, targets, mix, None)


class Reference:
    """The same training in numpy, float64, written from the formulas of the papers."""

    def __init__(self, recipe: Recipe, model: Linear) -> None:
        self.recipe = recipe
        self.p = {"weight": model.weight.asnumpy().astype(float), "bias": model.bias.asnumpy().astype(float)}
        self.m = {name: np.zeros_like(value) for name, value in self.p.items()}
        self.v = {name: np.zeros_like(value) for name, value in self.p.items()}
        self.ema = {name: value.copy() for name, value in self.p.items()}
        self.t = 0

    def pixels(self, batch: Batch) -> np.ndarray:
        x = (batch.images / 255.0 - np.array(self.recipe.mean)) / np.array(self.recipe.std)
        x = x.transpose(0, 3, 1, 2)
        if batch.mix is not None:
            mixed = x.copy()
            for i, (top, bottom, left, right) in enumerate(batch.mix.box):
                mixed[i] = batch.mix.lam[i] * x[i] + (1 - batch.mix.lam[i]) * x[i ^ 1]
                mixed[i, :, top:bottom, left:right] = x[i ^ 1, :, top:bottom, left:right]
            x = mixed
        return x.reshape(len(x), -1)

    def gradient(self, batch: Batch) -> tuple[float, dict[str, np.ndarray]]:
        x = self.pixels(batch)
        logits = x @ self.p["weight"].T + self.p["bias"]
        logits -= logits.max(axis=1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        delta = (np.exp(log_p) - batch.targets) / len(x)
        return float(-(batch.targets * log_p).sum() / len(x)), {
            "weight": delta.T @ x,
            "bias": delta.sum(axis=0),
        }

    def step(self, micros: list[Batch], lr: float) -> float:
        found = [self.gradient(batch) for batch in micros]
        grads = {name: sum(grad[name] for _, grad in found) / len(found) for name in self.p}
        norm = np.sqrt(sum((grad**2).sum() for grad in grads.values()))
        clip = self.recipe.clip_global_norm_value
        if clip and norm > clip:
            grads = {name: grad * clip / (norm + 1e-6) for name, grad in grads.items()}
        self.t += 1
        for name, grad in grads.items():
            self._update(name, grad, lr, self.recipe.weight_decay if name == "weight" else 0.0)
            keep = self.recipe.ema
            self.ema[name] = keep * self.ema[name] + (1 - keep) * self.p[name]
        return sum(loss for loss, _ in found) / len(found)

    def _update(self, name: str, grad: np.ndarray, lr: float, decay: float) -> None:
        kind, (b1, b2) = self.recipe.optimizer, self.recipe.beta
        if kind == "momentum":
            self.m[name] = self.recipe.momentum * self.m[name] + grad + decay * self.p[name]
            self.p[name] = self.p[name] - lr * self.m[name]
            return
        self.m[name] = b1 * self.m[name] + (1 - b1) * grad
        self.v[name] = b2 * self.v[name] + (1 - b2) * grad**2
        first, second = self.m[name], self.v[name]
        if kind == "adamw":
            first, second = first / (1 - b1**self.t), second / (1 - b2**self.t)
        change = first / (np.sqrt(second) + self.recipe.epsilon) + decay * self.p[name]
        self.p[name] = self.p[name] - lr * change


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
        {"optimizer": "adam_weight_decay", "epsilon": 1e-6},
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
    assert LossScale.from_recipe(recipe_of(loss_scale=512.0)).value == 1.0


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
    update(grads, ms.Tensor([0.5, 0.0, 0.0], ms.float32)).asnumpy()
    assert time.process_time() - begin < 60, "two minutes is what unrolling a loop over the parameters takes"
    for param in params:  # m / sqrt(v) of the first update without bias correction
        np.testing.assert_allclose(param.asnumpy(), 1 - 0.5 * 0.1 / np.sqrt(0.001), rtol=1e-4)


def test_normalise_and_loss() -> None:
    recipe = recipe_of(mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6])
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    wanted = ((images / 255.0 - [0.1, 0.2, 0.3]) / [0.4, 0.5, 0.6]).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(
        normalise_layer(recipe.mean, recipe.std)(ms.Tensor(images)).asnumpy(), wanted, atol=1e-5
    )
    logits = np.array([[1.0, 2.0, 3.0], [50.0, 0.0, -50.0]], np.float32)
    labels = np.array([0, 2])
    plain = soft_cross_entropy(ms.Tensor(logits), ms.Tensor(smooth_targets(labels, 3, 0.0))).asnumpy()
    builtin = ms.ops.cross_entropy(ms.Tensor(logits), ms.Tensor(labels, ms.int32)).asnumpy()
    assert plain == pytest.approx(builtin, rel=1e-5)
    smooth = soft_cross_entropy(ms.Tensor(logits), ms.Tensor(smooth_targets(labels, 3, 0.1))).asnumpy()
    builtin = ms.ops.cross_entropy(
        ms.Tensor(logits), ms.Tensor(labels, ms.int32), label_smoothing=0.1
    ).asnumpy()
    assert smooth == pytest.approx(builtin, rel=1e-5)


def test_mixed_pixels_are_what_the_mix_says() -> None:
    rng = np.random.default_rng(1)
    x = rng.random((4, 3, SIDE, SIDE), np.float32)
    lam = np.array([0.3, 1.0, 1.0, 0.5], np.float32)
    box = np.array([[0, 0, 0, 0], [1, 4, 2, 8], [0, 8, 0, 8], [0, 0, 0, 0]], np.int32)
    found = mix_images(ms.Tensor(x), ms.Tensor(lam), ms.Tensor(box)).asnumpy()
    np.testing.assert_allclose(found[0], 0.3 * x[0] + 0.7 * x[1], atol=1e-6)
    np.testing.assert_allclose(found[1, :, 1:4, 2:8], x[0, :, 1:4, 2:8], atol=1e-6)
    np.testing.assert_allclose(found[1, :, 4:], x[1, :, 4:], atol=1e-6)
    np.testing.assert_allclose(found[2], x[3], atol=1e-6)
    np.testing.assert_allclose(found[3], 0.5 * (x[2] + x[3]), atol=1e-6)


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
@pytest.mark.parametrize("kind", ["mix_up", "cutmix"])
def test_the_share_of_a_target_is_the_share_of_its_pixels(mode: str, kind: str) -> None:
    recipe = recipe_of(**{kind: 1.0, "mixup_mode": mode, "batch_size": 32})
    mix = draw_mix(recipe, 3, np.arange(32), 64)
    area = (mix.box[:, 1] - mix.box[:, 0]) * (mix.box[:, 3] - mix.box[:, 2])
    np.testing.assert_allclose(mix.share, mix.lam * (1 - area / 64**2), atol=1e-6)
    distinct = len(np.unique(mix.share))
    assert distinct == {"batch": 1, "pair": 16, "elem": 32}[mode] or (kind == "cutmix" and distinct > 8)
    np.testing.assert_array_equal(
        draw_mix(recipe, 3, np.arange(16, 32), 64).share, mix.share[16:]
    )  # a second rank sees its part of the same draw


def shares(count: int, measure: Callable[[Mix], bool], **changes: object) -> float:
    recipe = recipe_of(**changes)
    return sum(measure(draw_mix(recipe, step, np.arange(2), 32)) for step in range(count)) / count


def test_how_often_mixing_happens() -> None:
    both = {"mix_up": 0.8, "cutmix": 1.0}

    def is_cutmix(mix: Mix) -> bool:
        return bool(mix.lam[0] == 1.0 and mix.share[0] < 1)

    assert shares(800, is_cutmix, **both, switch_prob=0.25) == pytest.approx(0.25, abs=0.06)
    assert shares(800, lambda mix: bool(mix.share[0] == 1), **both, mixup_prob=0.4) == pytest.approx(
        0.6, abs=0.06
    )
    mean = np.mean([draw_mix(recipe_of(mix_up=0.8), step, np.arange(2), 32).lam[0] for step in range(800)])
    assert mean == pytest.approx(0.5, abs=0.04)


def test_targets_are_mixed_with_the_neighbour() -> None:
    targets = np.eye(4, dtype=np.float32)
    np.testing.assert_array_equal(neighbours(targets), targets[[1, 0, 3, 2]])
    mixed = mix_targets(targets, np.array([0.25, 1.0, 0.5, 0.0], np.float32))
    np.testing.assert_allclose(mixed[0], [0.25, 0.75, 0, 0])
    np.testing.assert_allclose(mixed[3], [0, 0, 1, 0])
    np.testing.assert_allclose(mixed.sum(axis=1), 1)
