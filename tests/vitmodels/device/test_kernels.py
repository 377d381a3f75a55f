"""The compiled operators against numpy in float64, and against the operators they take the place of."""

from __future__ import annotations

from math import erf
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.vitmodels.nets.golden_nets import logits_and_grads, make_net, read_golden, worst_relative

ms = pytest.importorskip("mindspore")

from vitmodels.device.compat import compiled_kernels, kernels_file, kernels_note  # noqa: E402
from vitmodels.device.kernels import operators  # noqa: E402
from vitmodels.device.kernels.library import library, limit_threads  # noqa: E402
from vitmodels.nets.registry import create_model  # noqa: E402
from vitmodels.nets.weights import load_weights  # noqa: E402

pytestmark = pytest.mark.skipif(library().path is None, reason=library().note)
Arrays = list[np.ndarray]


def random(*shapes: tuple[int, ...]) -> Arrays:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def run(operator: Any, inputs: Arrays, dout: np.ndarray, wanted: int) -> Arrays:
    """The (first) output, and the gradients of sum(output * dout) of the first `wanted` inputs."""
    factor, several = ms.Tensor(dout), operator is operators.mlp()

    def weighted(*given: Any) -> Any:
        out = operator(*given)
        out = out[0] if several else out
        return (out * factor).sum(), out

    find = ms.value_and_grad(weighted, tuple(range(wanted)), None, has_aux=True)
    (_, out), grads = find(*map(ms.Tensor, inputs))
    grads = grads if isinstance(grads, tuple) else (grads,)
    return [out.asnumpy(), *(grad.asnumpy() for grad in grads)]


def assert_close(found: Arrays, wanted: Arrays, limit: float = 1e-5) -> None:
    for i, (one, other) in enumerate(zip(found, wanted, strict=True)):
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= limit * np.abs(other).max(), f"array {i}"


def normal(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The normal distribution function and its density in float64."""
    x = x.astype(np.float64)
    return 0.5 * (1 + np.vectorize(erf)(x / 2**0.5)), np.exp(-x * x / 2) / (2 * np.pi) ** 0.5


# rows, in, out: less than a tile, one more than a tile, several slices of depth, thin and long
SHAPES = [(1, 1, 1), (13, 24, 33), (5, 400, 7), (130, 97, 70), (1500, 24, 24)]


@pytest.mark.parametrize(("rows", "n", "m"), SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_linear(rows: int, n: int, m: int, bias: bool) -> None:
    x, w, b, dy = random((rows, n), (m, n), (m,), (rows, m))
    y = x.astype(np.float64) @ w.T + b * bias
    grads = [dy.astype(np.float64) @ w, dy.T.astype(np.float64) @ x]
    if bias:
        found = run(operators.linear(), [x, w, b], dy, 3)
        grads.append(dy.sum(0, dtype=np.float64))
    else:
        found = run(operators.product(), [x, w], dy, 2)
    assert_close(found, [y, *grads])


def test_gelu_is_the_one_with_erf() -> None:
    x = np.concatenate([np.linspace(-12, 12, 4001), [-1e3, -50, -0.0, 50, 1e3]]).astype(np.float32)[None]
    phi, density = normal(x)
    found = run(operators.gelu(), [x], np.ones_like(x), 1)
    assert np.abs(found[0] - x * phi).max() < 1e-6
    assert np.abs(found[1] - (phi + x * density)).max() < 1e-6


@pytest.mark.parametrize(("rows", "n", "m"), SHAPES)
def test_mlp(rows: int, n: int, m: int) -> None:
    x, w1, b1, w2, b2, dy = random((rows, n), (m, n), (m,), (n, m), (n,), (rows, n))
    h = x.astype(np.float64) @ w1.T + b1
    phi, density = normal(h)
    active, dh = h * phi, (dy.astype(np.float64) @ w2) * (phi + h * density)
    wanted = [active @ w2.T + b2, dh @ w1, dh.T @ x, dh.sum(0), dy.T @ active, dy.sum(0, dtype=np.float64)]
    assert_close(run(operators.mlp(), [x, w1, b1, w2, b2], dy, 5), wanted, 2e-5)


@pytest.mark.parametrize(("rows", "width"), [(1, 1), (3, 8), (200, 24), (70, 384)])
def test_layer_norm(rows: int, width: int) -> None:
    x, w, b, dy = random((rows, width), (width,), (width,), (rows, width))
    x += 3
    eps = 1e-5
    mean, root = (
        x.mean(1, keepdims=True, dtype=np.float64),
        np.sqrt(x.astype(np.float64).var(1, keepdims=True) + eps),
    )
    n, d = (x - mean) / root, dy.astype(np.float64) * w
    dx = (d - d.mean(1, keepdims=True) - n * (d * n).mean(1, keepdims=True)) / root
    found = run(operators.layer_norm(), [x, w, b, np.array([eps], np.float32)], dy, 3)
    wanted = [n * w + b, dx, (dy * n).sum(0), dy.sum(0, dtype=np.float64)]
    if width == 1:  # the gradient of x and w is zero
        assert np.abs(found.pop(1)).max() < 1e-4 and np.abs(found.pop(1)).max() < 1e-4
        del wanted[1:3]
    assert_close(found, wanted)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 5, 2, 7), (40, 16, 4, 6), (2, 37, 3, 16)], ids=str)
@pytest.mark.parametrize("fused", [True, False])
def test_attention(shape: tuple[int, int, int, int], fused: bool) -> None:
    sequences, tokens, heads, width = shape
    rows, dim = sequences * tokens, heads * width
    qkv, dy = random((rows, 3 * dim), (rows, dim))
    qkv *= 2
    q, k, v = qkv.astype(np.float64).reshape(sequences, tokens, 3, heads, width).transpose(2, 0, 3, 1, 4)
    scores = q @ k.swapaxes(-1, -2) * width**-0.5
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    do = dy.astype(np.float64).reshape(sequences, tokens, heads, width).transpose(0, 2, 1, 3)
    dp = do @ v.swapaxes(-1, -2)
    ds = p * (dp - (p * dp).sum(-1, keepdims=True)) * width**-0.5
    parts = np.stack([ds @ k, ds.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ do])
    gradient = parts.transpose(1, 3, 0, 2, 4).reshape(rows, 3 * dim)
    y = (p @ v).transpose(0, 2, 1, 3).reshape(rows, dim)
    layout = np.array([tokens, heads], np.float32)
    if fused:
        found = run(operators.attention_qkv(), [qkv, layout], dy, 1)
    else:
        qk, only_v = (part.copy() for part in np.split(qkv, [2 * dim], axis=1))
        found = run(operators.attention_qk_v(), [qk, only_v, layout], dy, 2)
        found = [found[0], np.concatenate(found[1:], axis=1)]
    if tokens == 1:  # one token: nothing to weigh
        assert np.abs(found[1][:, : 2 * dim]).max() < 1e-6
        gradient, found[1] = gradient[:, 2 * dim :], found[1][:, 2 * dim :]
    assert_close(found, [y, gradient])


def test_what_is_not_a_number_stays_so() -> None:
    x = np.array([[np.nan, 1.0, 2.0]], np.float32)
    assert np.isnan(operators.gelu()(ms.Tensor(x)).asnumpy()).tolist() == [[True, False, False]]
    qkv, layout = np.ones((4, 6), np.float32), np.array([4, 1], np.float32)
    for place in (0, 2, 4):
        given = qkv.copy()
        given[1, place] = np.nan
        assert np.isnan(operators.attention_qkv()(ms.Tensor(given), ms.Tensor(layout)).asnumpy()).any()


def test_the_number_of_threads_changes_no_bit() -> None:
    x, w1, b1, w2, b2, dy = random((1000, 24), (96, 24), (96,), (24, 96), (24,), (1000, 24))
    qkv, layout = random((1600, 72))[0], np.array([16, 4], np.float32)
    norm = [x, b2, b2, np.array([1e-5], np.float32)]
    found = []
    try:
        for threads in (1, 2, 5, 2):
            limit_threads(threads)
            found.append(
                [
                    *run(operators.mlp(), [x, w1, b1, w2, b2], dy, 5),
                    *run(operators.layer_norm(), norm, dy, 3),
                    *run(operators.attention_qkv(), [qkv, layout], qkv[:, :24].copy(), 1),
                ]
            )
    finally:
        limit_threads(2)
    assert all(
        np.array_equal(one, other)
        for arrays in found[1:]
        for one, other in zip(found[0], arrays, strict=True)
    )


# elements: fewer than a vector, several parts of the work and a rest
@pytest.mark.parametrize("shape", [(3, 5), (2, 40_001), (16,)], ids=str)
def test_adamw_overwrites_a_parameter_and_its_moments(shape: tuple[int, ...]) -> None:
    p, m, v, gradient = random(shape, shape, shape, shape)
    rate, eps, decay, factor, shares, taken = 0.02, 1e-3, 0.3, 0.25, (0.5, 0.8), (0.1, 0.001)
    v = np.abs(v)
    held = [ms.Parameter(ms.Tensor(array), name=name) for name, array in zip("pmv", (p, m, v), strict=True)]
    numbers = ([rate, eps, decay], factor, [*shares, *taken])
    given = [ms.Tensor(gradient), *(ms.Tensor(each, ms.float32) for each in numbers)]
    operators.adamw()(*held, *given).asnumpy()
    g = gradient.astype(np.float64) * factor
    m, v = m + (g - m) * taken[0], v + (g * g - v) * taken[1]
    p = p - rate * shares[0] * (m / (np.sqrt(v) + eps) + decay * shares[1] * p)
    assert_close([each.asnumpy() for each in held], [p, m, v], 1e-6)


@pytest.mark.parametrize("shape", [(1,), (37,), (3, 768, 100)], ids=str)
def test_square_sum_is_right_whatever_the_number_of_threads(shape: tuple[int, ...]) -> None:
    (x,) = random(shape)
    found = []
    try:
        for threads in (1, 2, 5):
            limit_threads(threads)
            found.append(float(operators.square_sum()(ms.Tensor(x)).asnumpy()[0]))
    finally:
        limit_threads(2)
    assert len(set(found)) == 1
    assert found[0] == pytest.approx((x.astype(np.float64) ** 2).sum(), rel=1e-6)


def test_no_more_threads_than_allowed() -> None:
    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    try:
        limit_threads(1)
        alone = threads()
        limit_threads(4)
        assert threads() == alone + 3
    finally:
        limit_threads(2)


def test_anything_but_float32_is_refused() -> None:
    with pytest.raises(TypeError, match=r"gelu_of takes float32, not .*Float16"):
        operators.gelu()(ms.Tensor(np.zeros((2, 2), np.float16)))


@pytest.mark.parametrize("family", ["vit", "tnt"])
@pytest.mark.system
def test_without_them_a_net_computes_the_same(family: str) -> None:
    golden = read_golden(family)
    net, plain = make_net(family), make_net(family, operators="mindspore")
    for each in (net, plain):
        load_weights(each, golden.weights)
    with_kernels = logits_and_grads(net, golden.x, golden.c)
    y, grads = logits_and_grads(plain, golden.x, golden.c)
    assert not np.array_equal(y, with_kernels[0]), "this would be the same operators twice"
    assert np.abs(y - golden.y).max() < 1e-4 and np.abs(y - with_kernels[0]).max() < 5e-5
    assert worst_relative(grads, golden.grads) < 1e-3 and worst_relative(grads, with_kernels[1]) < 5e-4


def test_mixed_precision_takes_mindspores_operators() -> None:
    notes = {}
    for level in ("O0", "O2", "bf16"):
        net = create_model("vit_digits", num_classes=3, amp_level=level)
        notes[level] = (net.operators, kernels_note(net.operators))
    assert notes["bf16"] == notes.pop("O2")
    assert notes == {
        "O0": ("compiled", "CPU kernels: compiled"),
        "bf16": ("mindspore", "CPU kernels: slower operators, as mixed precision needs"),
    }
    assert compiled_kernels() and kernels_file() == str(library().path)
