"""Multi-head self-attention over rows, in the two parameter layouts of timm."""

from __future__ import annotations

from collections.abc import Callable

from mindspore import Tensor, nn, ops

from vitmodels.device.stochastic import Dropout, MaskLayout
from vitmodels.nets.layers.linear import Linear


class Attention(nn.Cell):
    """Attention among the `tokens` rows of each sequence; `sequences` is how many of these a sample has.

    `fused=True` keeps one `qkv` matrix (ViT), else `qk` and `v` (TNT). `linear` makes the dense layers.
    """

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
        attn_drop: float = 0.0,
        linear: Callable[..., nn.Cell] = Linear,
    ) -> None:
        super().__init__()
        self.fused = fused
        if fused:
            self.qkv = linear(dim, 3 * dim, qkv_bias)
            self.split = ops.Split(axis=1, output_num=3)
        else:
            self.qk = linear(dim, 2 * dim, qkv_bias)
            self.v = linear(dim, dim, qkv_bias)
            self.split = ops.Split(axis=1, output_num=2)
        self.shape = (-1, tokens, heads, dim // heads)
        self.rows = (-1, dim)
        self.scale = (dim // heads) ** -0.5
        self.scores = ops.BatchMatMul(transpose_b=True)
        self.softmax = ops.Softmax(-1)
        self.attn_drop = Dropout(attn_drop, layout, sequences * heads * tokens, tokens)
        self.mix = ops.BatchMatMul()
        self.transpose = ops.Transpose()
        self.proj = linear(dim, dim)
        self.proj_drop = Dropout(drop, layout, sequences * tokens, dim)

    def construct(
        self, x: Tensor, masks: Tensor | None = None
    ) -> Tensor:  # (S*N, dim), S sequences of N tokens
        if self.fused:
            q, k, v = self.split(self.qkv(x))
        else:
            q, k = self.split(self.qk(x))
            v = self.v(x)
        q = self.heads(q * self.scale)  # (S, heads, N, d)
        scores = self.softmax(self.scores(q, self.heads(k)))  # (S, heads, N, N)
        scores = self.attn_drop(scores, masks)
        x = self.mix(scores, self.heads(v))  # (S, heads, N, d)
        x = self.transpose(x, (0, 2, 1, 3)).reshape(self.rows)  # (S*N, dim)
        return self.proj_drop(self.proj(x), masks)

    def heads(self, x: Tensor) -> Tensor:
        """(S*N, dim) -> (S, heads, N, d)."""
        return self.transpose(x.reshape(self.shape), (0, 2, 1, 3))
