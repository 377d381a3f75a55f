"""Each layer against a plain numpy formula."""

from math import erf

import numpy as np
import pytest

ms = pytest.importorskip("mindspore")

from vitmodels.device.stochastic import Dropout, DropPath, MaskLayout  # noqa: E402
from vitmodels.nets.layers.choice import Layers, best_operators, choose_layers  # noqa: E402
from vitmodels.nets.layers.gelu import COEFFICIENTS, PolynomialGelu, gelu  # noqa: E402
from vitmodels.nets.layers.patches import CutPatches  # noqa: E402
from vitmodels.nets.layers.pixel_embed import KERNEL, PADDING, tap_index  # noqa: E402
from vitmodels.nets.layers.tokens import AddClassToken  # noqa: E402

RNG = np.random.default_rng(0)


def tensor(*shape: int) -> ms.Tensor:
    return ms.Tensor(RNG.standard_normal(shape).astype(np.float32))


def exact_gelu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    phi = np.array([0.5 * (1 + erf(value / 2**0.5)) for value in x])
    return x * phi, phi + x * np.exp(-(x**2) / 2) / (2 * np.pi) ** 0.5


def test_gelu_and_its_gradient_are_those_of_erf() -> None:
    x = np.concatenate([np.linspace(-12, 12, 4001), [-1e3, -50, 50, 1e3]])
    net = PolynomialGelu()
    given = ms.Tensor(x.astype(np.float32))
    wanted, slope = exact_gelu(x)
    assert np.abs(net(given).asnumpy() - wanted).max() < 5e-6 + 1e-7 * 1e3
    found = ms.grad(lambda value: net(value).sum())(given).asnumpy()
    assert np.abs(found - slope).max() < 3e-5
    assert isinstance(gelu(), PolynomialGelu), "MindSpore's own is for Ascend"
    assert COEFFICIENTS[-1] > 0, "a negative leading coefficient breaks at large x"


@pytest.fixture(params=["mindspore", "compiled"])
def layers(request: pytest.FixtureRequest) -> Layers:
    """Each set of layers that this machine has."""
    if request.param == "compiled" and best_operators() != "compiled":
        pytest.skip("no C++ compiler")
    return choose_layers(request.param)


def test_layer_norm(layers: Layers) -> None:
    net = layers.layer_norm(8, 1e-5)
    net.weight.set_data(tensor(8))
    net.bias.set_data(tensor(8))
    x = tensor(6, 8)
    values = x.asnumpy().astype(np.float64)
    n = (values - values.mean(1, keepdims=True)) / np.sqrt(values.var(1, keepdims=True) + 1e-5)
    assert np.allclose(net(x).asnumpy(), n * net.weight.asnumpy() + net.bias.asnumpy(), atol=1e-5)


def test_linear(layers: Layers) -> None:
    net = layers.linear(5, 3)
    w, b, x = RNG.standard_normal((3, 5)), RNG.standard_normal(3), tensor(4, 5)
    net.weight.set_data(ms.Tensor(w.astype(np.float32)))
    net.bias.set_data(ms.Tensor(b.astype(np.float32)))
    assert np.allclose(net(x).asnumpy(), x.asnumpy() @ w.T + b, atol=1e-5)
    assert layers.linear(5, 3, bias=False).bias is None


@pytest.mark.parametrize("fused", [True, False])
def test_attention(fused: bool, layers: Layers) -> None:
    sequences, tokens, dim, heads = 3, 4, 6, 2
    net = layers.attention(dim, heads, tokens, MaskLayout(), qkv_bias=False, fused=fused, drop=0.0)
    for value in net.trainable_params():
        value.set_data(tensor(*value.shape))
    x = tensor(sequences * tokens, dim)
    if fused:
        weights = np.split(net.qkv.weight.asnumpy(), 3)
    else:
        weights = [*np.split(net.qk.weight.asnumpy(), 2), net.v.weight.asnumpy()]

    def heads_of(weight: np.ndarray) -> np.ndarray:
        rows = x.asnumpy() @ weight.T
        return rows.reshape(sequences, tokens, heads, -1).transpose(0, 2, 1, 3)

    q, k, v = (heads_of(weight) for weight in weights)
    scores = q @ k.transpose(0, 1, 3, 2) / (dim // heads) ** 0.5
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    scores /= scores.sum(-1, keepdims=True)
    mixed = (scores @ v).transpose(0, 2, 1, 3).reshape(-1, dim)
    wanted = mixed @ net.proj.weight.asnumpy().T + net.proj.bias.asnumpy()
    assert np.allclose(net(x).asnumpy(), wanted, atol=1e-4)


def test_cut_patches() -> None:
    image = np.arange(3 * 4 * 4, dtype=np.float32).reshape(1, 3, 4, 4)
    rows = CutPatches(2, 2)(ms.Tensor(image)).asnumpy()
    assert rows.shape == (4, 12)
    assert np.array_equal(rows[1].reshape(3, 2, 2), image[0, :, :2, 2:])


@pytest.mark.parametrize(("patch", "stride"), [(16, 4), (8, 4), (8, 2), (9, 4)])
def test_tap_index_is_a_padded_convolution(patch: int, stride: int) -> None:
    side = -(-patch // stride)
    image, kernel = RNG.standard_normal((3, patch, patch)), RNG.standard_normal((3, KERNEL, KERNEL))
    taps = np.append(kernel.reshape(-1), 0.0)
    found = image.reshape(-1) @ taps[tap_index(patch, stride)]
    padded = np.pad(image, ((0, 0), (PADDING, PADDING), (PADDING, PADDING)))
    wanted = [
        (padded[:, y * stride : y * stride + KERNEL, x * stride : x * stride + KERNEL] * kernel).sum()
        for y in range(side)
        for x in range(side)
    ]
    assert np.allclose(found, wanted)


def test_class_token_comes_first_and_positions_are_added() -> None:
    x, cls, pos = tensor(2, 3, 4), tensor(1, 1, 4), tensor(1, 4, 4)
    found = AddClassToken(3, 4)(x, cls, pos).asnumpy().reshape(2, 4, 4)
    wanted = np.concatenate([np.repeat(cls.asnumpy(), 2, 0), x.asnumpy()], 1) + pos.asnumpy()
    assert np.allclose(found, wanted, atol=1e-6)


def test_drop_path_drops_whole_sequences_and_keeps_the_mean() -> None:
    layout = MaskLayout()
    layout.take(1)  # the columns of another layer come first
    net = DropPath(0.25, layout, sequences=2)
    assert layout.width == 3
    x = tensor(2 * 2 * 3, 4)  # 2 samples of 2 sequences of 3 tokens
    masks = np.array([[9, 0.1, 0.9], [9, 0.25, 0.2]], np.float32)
    ratio = (net(x, ms.Tensor(masks)).asnumpy() / x.asnumpy()).reshape(4, -1)
    assert np.allclose(ratio, np.array([0, 1 / 0.75, 1 / 0.75, 0])[:, None])
    assert net(x, None) is x


def test_dropout_rate_scale_and_independence() -> None:
    layout = MaskLayout()
    net = Dropout(0.3, layout, rows=50, columns=40)
    assert layout.width == 90
    masks = np.random.default_rng(1).random((20, 90), np.float32)
    kept = net(ms.Tensor(np.ones((20 * 50, 40), np.float32)), ms.Tensor(masks)).asnumpy()
    assert set(np.unique(kept.round(5))) == {0.0, np.float32(1 / 0.7).round(5)}
    share = (kept > 0).reshape(20, 50, 40)
    assert abs(share.mean() - 0.7) < 0.02
    together = (share[:, :-1, :] & share[:, 1:, :]).mean()  # neighbours are kept independently
    assert abs(together - 0.49) < 0.03
    assert not np.array_equal(share[0], share[1])


@pytest.mark.parametrize("attn_drop", [0.0, 0.2])
@pytest.mark.parametrize("drop", [0.0, 0.2])
@pytest.mark.parametrize("fused", [True, False])
def test_both_sets_of_layers_have_the_same_parameters_and_masks(
    attn_drop: float, drop: float, fused: bool
) -> None:
    if best_operators() != "compiled":
        pytest.skip("no C++ compiler")
    found = []
    for operators in ("mindspore", "compiled"):
        layers, layout = choose_layers(operators, attn_drop), MaskLayout()
        cells = [
            layers.linear(6, 5),
            layers.layer_norm(6, 1e-5),
            layers.mlp(6, 12, 4, drop, layout),
            layers.attention(6, 2, 4, layout, qkv_bias=True, fused=fused, drop=drop),
        ]
        shapes = [{name: value.shape for name, value in cell.parameters_and_names()} for cell in cells]
        found.append((shapes, layout.width))
    assert found[0] == found[1]
