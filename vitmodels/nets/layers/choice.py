"""Which layers a net is built from; chosen once, when the net is created."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from mindspore import nn

from vitmodels.device.compat import compiled_kernels
from vitmodels.nets.layers.attention import Attention
from vitmodels.nets.layers.linear import Linear
from vitmodels.nets.layers.mlp import Mlp
from vitmodels.nets.layers.norm import LayerNorm

Operators = Literal["compiled", "mindspore"]


@dataclass(frozen=True)
class Layers:
    """Constructors of the layers that exist twice, under the same parameter names; `operators` says which these are."""

    operators: Operators
    linear: Callable[..., nn.Cell]
    layer_norm: Callable[..., nn.Cell]
    mlp: Callable[..., nn.Cell]
    attention: Callable[..., nn.Cell]


def best_operators(amp_level: str = "O0") -> Operators:
    """The operators for nets that are trained or evaluated here: the compiled ones know float32 on CPU only."""
    return "compiled" if amp_level == "O0" and compiled_kernels() else "mindspore"


def choose_layers(operators: Operators, attn_drop: float = 0.0) -> Layers:
    """The layers of a net. Compiled attention can't drop weights: with `attn_drop`, attention is MindSpore's."""
    attention: Callable[..., nn.Cell] = partial(Attention, attn_drop=attn_drop)
    if operators == "mindspore":
        return Layers("mindspore", Linear, LayerNorm, Mlp, attention)
    from vitmodels.device.kernels import layers as compiled

    dropping = partial(attention, linear=compiled.Linear)
    attention = dropping if attn_drop > 0 else compiled.Attention
    return Layers("compiled", compiled.Linear, compiled.LayerNorm, compiled.Mlp, attention)
