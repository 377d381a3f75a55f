"""The compiled operators as MindSpore operators with gradients, for float32 on CPU; images are bytes.

Each function returns one operator, the same at every call. `library()` must have a path. Rows are tokens.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from mindspore import float32, ops
from mindspore.ops.signature import make_sig, sig_rw

from vitmodels.device.kernels.library import library


def _operator(
    name: str, shapes: Callable[..., Any], outputs: int = 1, bprop: Any = None, takes: Sequence[str] = ()
) -> Any:
    def kinds(*inputs: Any) -> Any:
        for kind, expected in zip(inputs, takes or ("Float32",) * len(inputs), strict=True):
            if expected not in str(kind):
                raise TypeError(
                    f"{name} takes {expected.lower()}, not {kind}; build the net with MindSpore's operators"
                )
        return float32 if outputs == 1 else (float32,) * outputs

    return ops.Custom(f"{library().path}:{name}", shapes, kinds, func_type="aot", bprop=bprop)


@functools.cache
def linear() -> Any:
    """x (rows, in), weight (out, in), bias (out,) -> (rows, out)"""
    back = _operator("linear_gradient", lambda dy, x, w: (x, w, [w[0]]), 3)

    def bprop(x: Any, weight: Any, bias: Any, out: Any, dout: Any) -> Any:
        return back(dout, x, weight)

    return _operator("linear", lambda x, w, b: [x[0], w[0]], bprop=bprop)


@functools.cache
def product() -> Any:
    """x (rows, in), weight (out, in) -> (rows, out)"""
    back = _operator("product_gradient", lambda dy, x, w: (x, w), 2)

    def bprop(x: Any, weight: Any, out: Any, dout: Any) -> Any:
        return back(dout, x, weight)

    return _operator("product", lambda x, w: [x[0], w[0]], bprop=bprop)


@functools.cache
def gelu() -> Any:
    """x (rows, width) -> (rows, width)"""
    back = _operator("gelu_gradient_of", lambda dy, x: x)

    def bprop(x: Any, out: Any, dout: Any) -> Any:
        return (back(dout, x),)

    return _operator("gelu_of", lambda x: x, bprop=bprop)


@functools.cache
def mlp() -> Any:
    """x (rows, in), w1 (hidden, in), b1, w2 (out, hidden), b2 -> (rows, out), and the hidden layer for the gradient."""
    back = _operator("mlp_gradient", lambda dy, x, h, w1, w2: (x, w1, [w1[0]], w2, [w2[0]]), 5)

    def bprop(x: Any, w1: Any, b1: Any, w2: Any, b2: Any, out: Any, dout: Any) -> Any:
        return back(dout[0], x, out[1], w1, w2)

    return _operator("mlp", lambda x, w1, b1, w2, b2: ([x[0], w2[0]], [x[0], w1[0]]), 2, bprop)


@functools.cache
def layer_norm() -> Any:
    """x (rows, width), weight (width,), bias (width,), eps (1,) -> (rows, width)"""
    back = _operator("layer_norm_gradient", lambda dy, x, w, eps: (x, w, w), 3)

    def bprop(x: Any, weight: Any, bias: Any, eps: Any, out: Any, dout: Any) -> Any:
        dx, dw, db = back(dout, x, weight, eps)
        return dx, dw, db, ops.zeros_like(eps)

    return _operator("layer_norm", lambda x, w, b, eps: x, bprop=bprop)


@functools.cache
def attention_qk_v() -> Any:
    """qk (rows, 2 dim), v (rows, dim), layout (2,): tokens of a sequence and heads -> (rows, dim)"""
    back = _operator("attention_qk_v_gradient", lambda dy, qk, v, layout: (qk, v), 2)

    def bprop(qk: Any, v: Any, layout: Any, out: Any, dout: Any) -> Any:
        dqk, dv = back(dout, qk, v, layout)
        return dqk, dv, ops.zeros_like(layout)

    return _operator("attention_qk_v", lambda qk, v, layout: v, bprop=bprop)


@functools.cache
def attention_qkv() -> Any:
    """qkv (rows, 3 dim), layout (2,) as above -> (rows, dim)"""
    back = _operator("attention_qkv_gradient", lambda dy, qkv, layout: qkv)

    def bprop(qkv: Any, layout: Any, out: Any, dout: Any) -> Any:
        return back(dout, qkv, layout), ops.zeros_like(layout)

    return _operator("attention_qkv", lambda qkv, layout: [qkv[0], qkv[1] // 3], bprop=bprop)


@functools.cache
def normalise() -> Any:
    """images uint8 (B, H, W, 3), scale (3,), offset (3,) -> (B, 3, H, W); images have no gradient"""

    def bprop(images: Any, scale: Any, offset: Any, out: Any, dout: Any) -> Any:
        return ops.zeros_like(images), ops.zeros_like(scale), ops.zeros_like(offset)

    takes = ("UInt8", "Float32", "Float32")
    return _operator("normalise_images", lambda x, *_: [x[0], 3, x[1], x[2]], bprop=bprop, takes=takes)


@functools.cache
def normalise_and_mix() -> Any:
    """images, scale, offset as above, lam (B,), box int32 (B, 4) as in `mixing.Mix` -> (B, 3, H, W); B is even"""

    def bprop(images: Any, scale: Any, offset: Any, lam: Any, box: Any, out: Any, dout: Any) -> Any:
        inputs = (images, scale, offset, lam, box)
        return tuple(ops.zeros_like(one) for one in inputs)

    takes = ("UInt8", "Float32", "Float32", "Float32", "Int32")
    return _operator(
        "normalise_and_mix_images", lambda x, *_: [x[0], 3, x[1], x[2]], bprop=bprop, takes=takes
    )


@functools.cache
def adamw() -> Any:
    """Overwrites p, m, v (one shape) by the update from a gradient; see operators.cpp for the scalars -> the rate, (1,)"""
    operator = _operator("adamw", lambda *_: [1])
    written = [make_sig(name, sig_rw.RW_WRITE) for name in ("p", "m", "v")]
    operator.set_signatures([*written, *map(make_sig, ("gradient", "scalars", "factor", "traits"))])
    operator.add_prim_attr("side_effect_mem", True)  # so that it comes after all that reads p
    return operator


@functools.cache
def square_sum() -> Any:
    """x of any shape -> the sum of its squares, (1,)"""
    return _operator("square_sum_of", lambda x: [1])
