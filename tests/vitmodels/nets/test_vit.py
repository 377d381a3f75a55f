import numpy as np
import pytest

from tests.vitmodels.nets.golden_nets import logits_and_grads, make_net, read_golden, worst_relative
from vitmodels.archs import ARCHS, parameter_count
from vitmodels.nets.registry import create_model
from vitmodels.nets.weights import load_weights, model_weights
from vitmodels.training.layerrates import PATCH_EMBEDDINGS

ms = pytest.importorskip("mindspore")


@pytest.mark.parametrize("family", ["vit", "tnt"])
def test_same_function_and_gradients_as_timm(family: str) -> None:
    golden = read_golden(family)
    net = make_net(family)
    load_weights(net, golden.weights)
    y, grads = logits_and_grads(net, golden.x, golden.c)
    assert np.abs(y - golden.y).max() < 1e-4
    assert worst_relative(grads, golden.grads) < 1e-3
    names = [parameter.name for parameter in net.trainable_params()]
    assert sorted(names) == sorted(golden.weights)


@pytest.mark.parametrize("family", ["vit", "tnt"])
def test_a_frozen_patch_embedding_gets_no_gradient_and_the_others_keep_theirs(family: str) -> None:
    golden = read_golden(family)
    net = make_net(family)
    load_weights(net, golden.weights)
    net.freeze_patch_embed()
    grads = logits_and_grads(net, golden.x, golden.c)[1]
    frozen = {name for name in grads if name.startswith(PATCH_EMBEDDINGS)}
    assert len(frozen) == 2 and not any(grads[name].any() for name in frozen)
    others = grads.keys() - frozen
    assert worst_relative({n: grads[n] for n in others}, {n: golden.grads[n] for n in others}) < 1e-3


@pytest.mark.parametrize("arch", ["vit_digits", "tnt_digits"])
def test_created_model(arch: str) -> None:
    net = create_model(arch, num_classes=7, seed=3)
    assert sum(value.size for value in model_weights(net).values()) == parameter_count(ARCHS[arch], 7)
    assert net.mask_shape(4) is None
    same, other = create_model(arch, num_classes=7, seed=3), create_model(arch, num_classes=7, seed=4)
    weights = model_weights(net)
    assert all(np.array_equal(value, weights[name]) for name, value in model_weights(same).items())
    assert not np.array_equal(model_weights(other)["head.weight"], weights["head.weight"])


def test_another_image_size_and_alias() -> None:
    net = create_model("ViT-Ti_16", num_classes=2, image_size=32)
    assert tuple(net.pos_embed.shape) == (1, 5, 192)
    assert tuple(net(ms.Tensor(np.zeros((1, 3, 32, 32), np.float32))).shape) == (1, 2)


@pytest.mark.parametrize("family", ["vit", "tnt"])
def test_names_stay_inside_other_cells(family: str) -> None:
    net = make_net(family)
    outer = ms.nn.SequentialCell(net)
    assert {p.name for p in outer.trainable_params()} == set(model_weights(net))


@pytest.mark.parametrize("family", [pytest.param("vit", marks=pytest.mark.slow), "tnt"])
@pytest.mark.system
def test_masks_are_the_only_source_of_randomness(family: str) -> None:
    net = make_net(family, drop=0.2, attn_drop=0.2, drop_path=0.5)
    shape = net.mask_shape(2)
    assert shape is not None and shape[0] == 2
    x = ms.Tensor(read_golden(family).x)
    masks = np.random.default_rng(0).random(shape, np.float32)
    plain, masked = net(x).asnumpy(), net(x, ms.Tensor(masks)).asnumpy()
    assert not np.allclose(plain, masked)
    assert np.array_equal(masked, net(x, ms.Tensor(masks)).asnumpy())
    swapped = net(x[::-1], ms.Tensor(masks[::-1].copy())).asnumpy()[::-1]
    assert np.allclose(masked, swapped, atol=1e-6), "a sample's masks are in its own row"


@pytest.mark.parametrize("family", ["vit", "tnt"])
def test_stochastic_depth_that_drops_everything_leaves_the_stem(family: str) -> None:
    """With every number 0 and a rate above, each block of the last layer adds nothing."""
    net = make_net(family, drop_path=0.5)
    x = ms.Tensor(read_golden(family).x)
    shape = net.mask_shape(2)
    dropped = net(x, ms.Tensor(np.zeros(shape, np.float32))).asnumpy()
    weights = model_weights(net)
    ends = ("attn.proj", "mlp.fc2", "attn_in.proj", "mlp_in.fc2", "attn_out.proj")
    for name in weights:  # silence the residual branches of the last block by hand
        if name.startswith("blocks.1.") and name.removeprefix("blocks.1.").rpartition(".")[0] in ends:
            weights[name] = np.zeros_like(weights[name])
    load_weights(net, weights)
    assert np.allclose(dropped, net(x).asnumpy(), atol=1e-6)
