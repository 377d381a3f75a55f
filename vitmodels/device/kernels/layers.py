"""Layers that compute with the compiled operators: float32 on CPU.

Each has the parameters and the function of its namesake in `vitmodels.nets`, which computes with MindSpore's operators, and
takes the same arguments, but for dropout of attention weights. A net is built from one set or the other
(`nets.layers.choice`) and stays so.
"""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

from vitmodels.device.kernels import operators
from vitmodels.device.stochastic import Dropout, MaskLayout


class Linear(nn.Cell):
    """(rows, in_features) -> (rows, out_features)."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = Parameter(Tensor(np.zeros((out_features, in_features), np.float32)), name="weight")
        self.bias = Parameter(Tensor(np.zeros(out_features, np.float32)), name="bias") if bias else None
        self.operator = operators.linear() if bias else operators.product()

    def construct(self, x: Tensor) -> Tensor:
        if self.bias is None:
            return self.operator(x, self.weight)
        return self.operator(x, self.weight, self.bias)


class LayerNorm(nn.Cell):
    """Normalises the last axis of (rows, dim)."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = Parameter(Tensor(np.ones(dim, np.float32)), name="weight")
        self.bias = Parameter(Tensor(np.zeros(dim, np.float32)), name="bias")
        self.eps = Tensor(np.array([eps], np.float32))
        self.operator = operators.layer_norm()

    def construct(self, x: Tensor) -> Tensor:
        return self.operator(x, self.weight, self.bias, self.eps)


class Mlp(nn.Cell):
    """dim -> hidden -> GELU -> dim over rows: one operator, or three with dropout in between."""

    def __init__(self, dim: int, hidden: int, rows: int, drop: float, layout: MaskLayout) -> None:
        super().__init__()
        self.whole = drop == 0
        self.operator = operators.mlp()
        self.fc1 = Linear(dim, hidden)
        self.gelu = operators.gelu()
        self.drop1 = Dropout(drop, layout, rows, hidden)
        self.fc2 = Linear(hidden, dim)
        self.drop2 = Dropout(drop, layout, rows, dim)

    def construct(self, x: Tensor, masks: Tensor | None = None) -> Tensor:  # (rows, dim)
        if self.whole:
            return self.operator(x, self.fc1.weight, self.fc1.bias, self.fc2.weight, self.fc2.bias)[0]
        x = self.drop1(self.gelu(self.fc1(x)), masks)  # (rows, hidden)
        return self.drop2(self.fc2(x), masks)  # (rows, dim)


class Attention(nn.Cell):
    """Attention without dropout on its weights; one operator for all between the matrices."""

    def __init__(
        self,
        dim: int,
        heads: int,
        tokens: int,
        layout: MaskLayout,
        *,
        sequences: int = 1,
        qkv_bias: bool,
        fused: bool,
        drop: float,
    ) -> None:
        super().__init__()
        self.fused = fused
        if fused:
            self.qkv = Linear(dim, 3 * dim, qkv_bias)
            self.operator = operators.attention_qkv()
        else:
            self.qk = Linear(dim, 2 * dim, qkv_bias)
            self.v = Linear(dim, dim, qkv_bias)
            self.operator = operators.attention_qk_v()
        self.tokens_and_heads = Tensor(np.array([tokens, heads], np.float32))
        self.proj = Linear(dim, dim)
        self.proj_drop = Dropout(drop, layout, sequences * tokens, dim)

    def construct(self, x: Tensor, masks: Tensor | None = None) -> Tensor:  # (S*N, dim)
        if self.fused:
            x = self.operator(self.qkv(x), self.tokens_and_heads)
        else:
            x = self.operator(self.qk(x), self.v(x), self.tokens_and_heads)
        return self.proj_drop(self.proj(x), masks)


class Normalise(nn.Cell):
    """uint8 (B, H, W, 3) to float32 (B, 3, H, W), mixed with the neighbour when `lam` and `box` are given."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.scale = Tensor(1.0 / (255.0 * np.array(std)), ms.float32)
        self.offset = Tensor(-np.array(mean) / np.array(std), ms.float32)
        self.plain, self.mixing = operators.normalise(), operators.normalise_and_mix()

    def construct(self, images: Tensor, lam: Tensor | None = None, box: Tensor | None = None) -> Tensor:
        if lam is None:
            return self.plain(images, self.scale, self.offset)
        return self.mixing(images, self.scale, self.offset, lam, box)
