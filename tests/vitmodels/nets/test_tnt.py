"""What TNT has and ViT has not; the function itself is compared in test_vit."""

import numpy as np
import pytest

from tests.vitmodels.nets.golden_nets import TINY, make_net, read_golden
from vitmodels.nets.initialise import initial_value
from vitmodels.nets.weights import load_weights, model_weights

ms = pytest.importorskip("mindspore")


def test_a_patch_sees_only_its_own_pixels_in_the_stem() -> None:
    net = make_net("tnt")
    x = read_golden("tnt").x[:1]
    changed = x.copy()
    changed[:, :, :16, :16] += 1  # the first of 2 x 2 patches
    before = net.pixel_embed(ms.Tensor(x), net.pixel_pos).asnumpy().reshape(4, -1)
    after = net.pixel_embed(ms.Tensor(changed), net.pixel_pos).asnumpy().reshape(4, -1)
    assert np.array_equal(before[1:], after[1:])
    assert not np.allclose(before[0], after[0])


def test_positions_of_pixels_and_patches_count() -> None:
    net = make_net("tnt")
    x = ms.Tensor(read_golden("tnt").x)
    weights = model_weights(net)
    before = net(x).asnumpy()
    for name in ("pixel_pos", "patch_pos"):
        load_weights(
            net,
            {
                **weights,
                name: weights[name] + np.linspace(0, 1, weights[name].size).reshape(weights[name].shape),
            },
        )
        assert not np.allclose(net(x).asnumpy(), before)


@pytest.mark.parametrize(
    ("name", "shape", "deviation"),
    [
        ("blocks.0.mlp.fc1.weight", (400, 100), 0.02),
        ("patch_pos", (1, 400, 100), 0.02),
        ("cls_token", (1, 1, 40000), 0.02),
        ("pixel_embed.proj.weight", (270, 3, 7, 7), 147**-0.5 / 3**0.5),  # uniform within 1/sqrt(fan in)
        ("pixel_embed.proj.bias", (40000,), 147**-0.5 / 3**0.5),
    ],
)
def test_first_values_are_distributed_as_in_the_reference(
    name: str, shape: tuple[int, ...], deviation: float
) -> None:
    value = initial_value(name, shape, TINY["tnt"], seed=0)
    assert value.dtype == np.float32
    assert abs(value.std() / deviation - 1) < 0.02
    assert abs(value.mean()) < 0.03 * deviation


def test_first_values_of_the_rest() -> None:
    assert (initial_value("norm.weight", (8,), TINY["tnt"], 0) == 1).all()
    assert (initial_value("blocks.0.mlp.fc1.bias", (8,), TINY["tnt"], 0) == 0).all()
    assert np.abs(initial_value("cls_token", (1, 1, 999), TINY["vit"], 0)).max() < 1e-5
    one, two = (initial_value(f"blocks.{i}.mlp.fc1.weight", (4, 4), TINY["vit"], 0) for i in (0, 1))
    assert not np.allclose(one, two)
