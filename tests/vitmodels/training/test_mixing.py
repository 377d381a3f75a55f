"""Images are normalised and mixed, and targets with them."""

from __future__ import annotations

from collections.abc import Callable

import mindspore as ms
import numpy as np
import pytest

from tests.vitmodels.training.reference import SIDE, recipe_of
from vitmodels.images.mixing import Mix, draw_mix, mix_targets, neighbours, smooth_targets
from vitmodels.nets.pixels import mix_images, normalise_layer
from vitmodels.training.loss import soft_cross_entropy

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("graph_mode")]


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
