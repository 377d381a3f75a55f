"""The same step gives the same bits, however MindSpore's operators split their work.

On CPU an operator tries out how many threads suit it best: its first five calls run in one part, the next five in two, and so
on, then it stays with the fastest. So a step that is repeated from the same state goes through all of these ways,
except on a machine with one core.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from vitmodels.config import Recipe
from vitmodels.device.rng import Stream, uniforms
from vitmodels.images.batches import Batch
from vitmodels.images.mixing import draw_mix, mix_targets, smooth_targets
from vitmodels.recipe_file import make_recipe
from vitmodels.training.assemble import build_model
from vitmodels.training.step import ordered_sum
from vitmodels.training.trainer import Trainer

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("graph_mode")]

CALLS = 28


class Sum(nn.Cell):
    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return ordered_sum(x)


@pytest.mark.parametrize("shape", [(5,), (1000, 384), (768, 3, 16, 16), (2, 200_000)], ids=str)
def test_a_sum_is_right_and_always_the_same(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).random(shape, np.float32)
    add = Sum()
    found = {float(add(ms.Tensor(values)).asnumpy()) for _ in range(CALLS)}
    assert len(found) == 1
    assert found.pop() == pytest.approx(values.sum(dtype=np.float64), rel=1e-6)


def batch_of(recipe: Recipe, mask_shape: tuple[int, int] | None) -> Batch:
    rng, positions = np.random.default_rng(0), np.arange(recipe.batch_size)
    images = rng.integers(0, 256, (recipe.batch_size, recipe.side, recipe.side, 3), np.uint8)
    mix = draw_mix(recipe, 3, positions, recipe.side)
    labels = rng.integers(0, recipe.num_classes, recipe.batch_size)
    targets = mix_targets(smooth_targets(labels, recipe.num_classes, 0.1), mix.share)
    assert mask_shape is not None
    return Batch(images, targets, mix, uniforms(7, Stream.MASK, 0, positions, mask_shape[1]))


@pytest.mark.parametrize("arch", ["tnt_digits", pytest.param("vit_digits", marks=pytest.mark.slow)])
def test_a_repeated_step_changes_no_bit(arch: str) -> None:
    recipe = make_recipe(
        {
            "arch": arch,
            "num_classes": 7,
            "image_size": 32,
            "batch_size": 6,
            "drop_path": 0.2,
            "drop_rate": 0.1,
            "mix_up": 0.5,
            "cutmix": 1.0,
            "clip_global_norm_value": 0.1,
            "ema": 0.9,
            "lr_scale": "none",
        }
    )
    model = build_model(recipe)
    rng = np.random.default_rng(1)
    for param in model.trainable_params():  # no zeros: they would hide rounding
        param.set_data(ms.Tensor((param.asnumpy() + rng.normal(0, 0.02, param.shape)).astype(np.float32)))
    trainer, batch = Trainer(model, recipe, 1), batch_of(recipe, model.mask_shape(recipe.batch_size))
    weights, state = trainer.weights(), trainer.state()
    for name, value in state.items():
        if value.dtype == np.float32:
            state[name] = rng.uniform(1e-3, 1e-2, value.shape).astype(np.float32)
    first: dict[str, np.ndarray] = {}
    for call in range(CALLS):
        trainer.load(weights, state)
        result = trainer.step([batch], 1e-3, False)
        found = {**trainer.weights(), **trainer.state(), "loss": np.array(result.loss)}
        found["norm"] = np.array(result.norm)
        first = first or found
        changed = [name for name in first if not np.array_equal(first[name], found[name])]
        assert not changed, f"call {call + 1}: {changed}"
