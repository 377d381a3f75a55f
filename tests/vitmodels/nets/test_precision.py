"""bf16 on CPU: what is rounded, and how far a net is from float32."""

import numpy as np
import pytest

from tests.vitmodels.nets.golden_nets import logits_and_grads, make_net, read_golden, worst_relative
from vitmodels.nets.weights import load_weights, model_weights

ms = pytest.importorskip("mindspore")

from vitmodels.nets.precision import RoundedProduct, needs_loss_scale, set_precision  # noqa: E402

ROUNDING = 2.0**-8  # bfloat16 keeps 8 binary digits


def bfloat16(x: np.ndarray) -> np.ndarray:
    """The nearest bfloat16, ties to even, as float32."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def test_a_product_takes_and_gives_bfloat16_forward_and_backward() -> None:
    rng = np.random.default_rng(0)
    a, b, slope = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 6), (5, 6), (4, 5)))
    net = RoundedProduct(ms.ops.MatMul(transpose_b=True))
    found = net(ms.Tensor(a), ms.Tensor(b)).asnumpy()
    np.testing.assert_array_equal(found, bfloat16(found))
    np.testing.assert_allclose(found, bfloat16(a) @ bfloat16(b).T, rtol=ROUNDING)
    grad = ms.grad(lambda x: (net(x, ms.Tensor(b)) * ms.Tensor(slope)).sum())(ms.Tensor(a)).asnumpy()
    np.testing.assert_array_equal(grad, bfloat16(grad))
    np.testing.assert_allclose(grad, bfloat16(slope) @ bfloat16(b), rtol=ROUNDING)


@pytest.mark.system
@pytest.mark.parametrize("family", ["vit", "tnt"])
def test_a_net_differs_from_float32_by_rounding_and_keeps_float32_weights(family: str) -> None:
    golden = read_golden(family)
    net = make_net(family, operators="mindspore")
    load_weights(net, golden.weights)
    set_precision(net, "bf16")
    y, grads = logits_and_grads(net, golden.x, golden.c)
    apart = np.abs(y - golden.y).max() / np.abs(golden.y).max()
    assert ROUNDING / 10 < apart < 4 * ROUNDING
    assert ROUNDING / 10 < worst_relative(grads, golden.grads) < 10 * ROUNDING
    assert {value.dtype for value in (*grads.values(), *model_weights(net).values())} == {np.dtype("float32")}
    assert sorted(model_weights(net)) == sorted(golden.weights)


def test_bfloat16_needs_no_loss_scale() -> None:
    levels = ("O0", "O1", "O2", "O3", "bf16", "auto")
    assert [level for level in levels if needs_loss_scale(level)] == ["O1", "O2", "O3"]
