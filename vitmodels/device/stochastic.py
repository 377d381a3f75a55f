"""Stochastic depth and dropout whose random numbers are an input.

MindSpore can't restore the state of its random generators on CPU, so a resumed run would draw other masks.
Here every random number comes from the host: a model reserves a number of columns for each sample (`MaskLayout`),
and the training program draws them uniformly from [0, 1), keyed by seed, step and sample.
"""

from __future__ import annotations

from mindspore import Tensor, nn, ops


class MaskLayout:
    """Hands out the columns of the (batch, width) tensor of random numbers while a model is built."""

    def __init__(self) -> None:
        self.width = 0

    def take(self, count: int) -> int:
        """Reserves `count` columns and returns the first."""
        begin = self.width
        self.width += count
        return begin


def keep_scale(uniform: Tensor, rate: float) -> Tensor:
    """1 / (1 - rate) where the number says "keep" (probability 1 - rate), else 0."""
    return ops.floor(uniform + (1.0 - rate)) * (1.0 / (1.0 - rate))


class DropPath(nn.Cell):
    """Drops a residual branch for whole sequences; `sequences` is how many of them a sample has.

    Stochastic depth, https://arxiv.org/abs/1603.09382; scaled by the keep probability like timm's.
    """

    def __init__(self, rate: float, layout: MaskLayout, sequences: int = 1) -> None:
        super().__init__()
        self.rate = rate
        self.begin = layout.take(sequences) if rate > 0 else 0
        self.end = self.begin + sequences

    def construct(self, x: Tensor, masks: Tensor | None) -> Tensor:  # (rows, channels), (B, width)
        if self.rate == 0 or masks is None:
            return x
        keep = keep_scale(masks[:, self.begin : self.end], self.rate).reshape(-1, 1)  # (B * sequences, 1)
        return (x.reshape(keep.shape[0], -1) * keep.astype(x.dtype)).reshape(x.shape)


class Dropout(nn.Cell):
    """Dropout of the elements of (B * rows, columns), from `rows + columns` random numbers a sample.

    Element (i, j) uses the fractional part of a_i + b_j, which is uniform, and independent between any two
    elements of a sample; so the host need not draw one number for each element.
    """

    def __init__(self, rate: float, layout: MaskLayout, rows: int, columns: int) -> None:
        super().__init__()
        self.rate = rate
        self.rows = rows
        self.columns = columns
        self.begin = layout.take(rows + columns) if rate > 0 else 0

    def construct(self, x: Tensor, masks: Tensor | None) -> Tensor:
        if self.rate == 0 or masks is None:
            return x
        middle = self.begin + self.rows
        a = masks[:, self.begin : middle].reshape(-1, self.rows, 1)  # (B, rows, 1)
        b = masks[:, middle : middle + self.columns].reshape(-1, 1, self.columns)  # (B, 1, columns)
        u = a + b
        keep = keep_scale(u - ops.floor(u), self.rate)  # (B, rows, columns)
        return x * keep.reshape(x.shape).astype(x.dtype)
