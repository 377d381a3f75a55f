"""The optimisers as one graph cell: it takes the reduced gradients and updates in place.

adamw              bias-corrected, as torch and timm have it (Loshchilov, Hutter 2019)
adam_weight_decay  MindSpore's `nn.AdamWeightDecay`: the same without bias correction. Its first steps are
                   about three times larger, so rates are not interchangeable with adamw. The published
                   figures of the two READMEs were made with it (TNT) and with momentum (vit_base).
momentum           SGD with momentum; the decay is added to the gradient

Both Adam forms use a fused operator p -= lr' * (m / (sqrt(v) + eps') + decay' * p), whose three scalars
are chosen per step so that the result is exactly the formula (`adam_scalars`). It is our own where the net's operators
are: on CPU MindSpore's takes five times as long.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from vitmodels.config import Recipe
from vitmodels.device.kernels import operators
from vitmodels.nets.layers.choice import best_operators
from vitmodels.nets.precision import level_here
from vitmodels.training.layerrates import rate_share

# Parameters without weight decay, besides everything of one dimension (biases, norms).
NO_DECAY = ("cls_token", "pos_embed", "patch_pos", "pixel_pos", "dist_token")


def decays(name: str, shape: Sequence[int]) -> bool:
    """Whether weight decay applies to a parameter."""
    return len(shape) > 1 and name.rsplit(".", 1)[-1] not in NO_DECAY


def adam_scalars(recipe: Recipe, lr: float, update: int) -> tuple[float, float, float]:
    """(lr', eps', decay') of the fused operator for update number `update`, counted from 1.

    With c1 = 1 - b1^t and c2 = 1 - b2^t, AdamW is lr/c1 * m / (sqrt(v/c2) + eps) + lr*decay*p; pulling
    sqrt(c2) out of the denominator gives lr' = lr*sqrt(c2)/c1, eps' = eps*sqrt(c2), decay' = decay*lr/lr'.
    """
    if recipe.optimizer != "adamw":
        return lr, recipe.epsilon, recipe.weight_decay
    first, second = recipe.beta
    root = math.sqrt(1.0 - second**update)
    scaled = lr * root / (1.0 - first**update)
    return scaled, recipe.epsilon * root, recipe.weight_decay * (lr / scaled if scaled else 0.0)


# One update of one parameter each, to be mapped over all of them.
_adam: Any = ops.MultitypeFuncGraph("adam")
_compiled_adam: Any = ops.MultitypeFuncGraph("compiled_adam")
_scale: Any = ops.MultitypeFuncGraph("scale")
_momentum: Any = ops.MultitypeFuncGraph("momentum")
_decay: Any = ops.MultitypeFuncGraph("decay")
_average: Any = ops.MultitypeFuncGraph("average")
_share: Any = ops.MultitypeFuncGraph("share")


@_adam.register("Function", *["Tensor"] * 9)
def _adam_one(
    fused: Any, beta1: Any, beta2: Any, eps: Any, decay: Any, rate: Any, param: Any, m: Any, v: Any, grad: Any
) -> Any:
    return fused(param, m, v, rate, beta1, beta2, eps, decay, grad)


@_compiled_adam.register("Function", *["Tensor"] * 7)
def _compiled_adam_one(
    fused: Any, scalars: Any, factor: Any, traits: Any, param: Any, m: Any, v: Any, grad: Any
) -> Any:
    return fused(param, m, v, grad, scalars, factor, traits)


@_scale.register("Tensor", "Tensor")
def _scale_one(factor: Any, grad: Any) -> Any:
    return grad * factor


@_momentum.register("Function", *["Tensor"] * 5)
def _momentum_one(apply: Any, momentum: Any, rate: Any, param: Any, m: Any, grad: Any) -> Any:
    return apply(param, m, rate, grad, momentum)


@_decay.register("Tensor", "Tensor", "Tensor")
def _decay_one(decay: Any, param: Any, grad: Any) -> Any:
    return grad + decay * param


@_share.register("Tensor", "Number")
def _share_one(rate: Any, share: Any) -> Any:
    return rate * share


@_average.register("Tensor", "Tensor", "Tensor", "Tensor")
def _average_one(keep: Any, take: Any, average: Any, param: Any) -> Any:
    return ops.assign(average, average * keep + param * take)


def decayed_first(params: Iterable[ms.Parameter]) -> list[ms.Parameter]:
    """The parameters in the order that `Update` wants: those with weight decay before those without."""
    return sorted(params, key=lambda param: not decays(param.name, param.shape))


class Update(nn.Cell):
    """Applies one update to `params` from their gradients times `factor`; owns the moments.

    `params` must be in the order of `decayed_first`. `scalars` is float32 (3,): lr', eps', decay' (see
    `adam_scalars`). `names` are the parameters' names in the model: a cell adds a prefix of its own to those
    of what it holds. A loop over the parameters in `construct` would be unrolled, which costs the compiler more
    than a minute for TNT-S. `HyperMap` costs a few seconds.
    """

    def __init__(self, params: Sequence[ms.Parameter], names: Sequence[str], recipe: Recipe) -> None:
        super().__init__()
        shapes = [tuple(int(n) for n in param.shape) for param in params]
        self.decayed = sum(decays(name, shape) for name, shape in zip(names, shapes, strict=True))
        self.adam = recipe.optimizer != "momentum"
        self.names = [f"{moment}.{name}" for moment in ("m", "v")[: 1 + self.adam] for name in names]
        moments = [
            ms.Parameter(ms.Tensor(np.zeros(shape, np.float32)), name=name)
            for name, shape in zip(self.names, shapes * 2, strict=False)
        ]
        self.params = ms.ParameterTuple(params)
        self.first = ms.ParameterTuple(moments[: len(params)])
        self.second = ms.ParameterTuple(moments[len(params) :])
        self.beta1 = ms.Tensor(recipe.beta[0], ms.float32)
        self.beta2 = ms.Tensor(recipe.beta[1], ms.float32)
        self.momentum = ms.Tensor(recipe.momentum, ms.float32)
        self.zero = ms.Tensor(0.0, ms.float32)
        self.shares = tuple(rate_share(name, recipe) for name in names)
        self.count = len(params)
        self.own_kernel = self.adam and best_operators(level_here(recipe.amp_level)) == "compiled"
        self.fused = operators.adamw() if self.own_kernel else ops.AdamWeightDecay()
        self.traits = self._traits(recipe)
        self.apply_momentum = ops.ApplyMomentum()
        self.map = ops.HyperMap()

    def _traits(self, recipe: Recipe) -> tuple[ms.Tensor, ...]:
        """Of each parameter: share of the rate, share of the decay, 1 - beta1, 1 - beta2; for the compiled operator."""
        taken = tuple(1.0 - beta for beta in recipe.beta)
        rows = [(share, float(i < self.decayed), *taken) for i, share in enumerate(self.shares)]
        tensors = {row: ms.Tensor(row, ms.float32) for row in set(rows)}
        return tuple(tensors[row] for row in rows)

    def state(self) -> dict[str, ms.Parameter]:
        """The moments by name, for checkpoints."""
        return dict(zip(self.names, (*self.first, *self.second), strict=True))

    def construct(self, grads: tuple[ms.Tensor, ...], factor: ms.Tensor, scalars: ms.Tensor) -> ms.Tensor:
        rate, eps, decay = scalars[0], scalars[1], scalars[2]
        if self.own_kernel:
            one = ops.partial(_compiled_adam, self.fused, scalars, factor)
            self.map(one, self.traits, self.params, self.first, self.second, grads)
            return rate
        grads = self.map(ops.partial(_scale, factor), grads)
        n = self.decayed
        rates = self.map(ops.partial(_share, rate), self.shares)
        if self.adam:
            with_decay = ops.partial(_adam, self.fused, self.beta1, self.beta2, eps, decay)
            without = ops.partial(_adam, self.fused, self.beta1, self.beta2, eps, self.zero)
            if n > 0:
                self.map(with_decay, rates[:n], self.params[:n], self.first[:n], self.second[:n], grads[:n])
            if n < self.count:
                self.map(without, rates[n:], self.params[n:], self.first[n:], self.second[n:], grads[n:])
        else:
            if n > 0:
                grads = (*self.map(ops.partial(_decay, decay), self.params[:n], grads[:n]), *grads[n:])
            one = ops.partial(_momentum, self.apply_momentum, self.momentum)
            self.map(one, rates, self.params, self.first, grads)
        return rate


class Average(nn.Cell):
    """Exponential moving average of the weights: a = decay * a + (1 - decay) * p after every update."""

    def __init__(self, params: Sequence[ms.Parameter], names: Sequence[str], decay: float) -> None:
        super().__init__()
        self.params = ms.ParameterTuple(params)
        self.averages = ms.ParameterTuple(
            [
                ms.Parameter(p.value().copy(), name=f"ema.{name}")
                for p, name in zip(params, names, strict=True)
            ]
        )
        self.names = [f"ema.{name}" for name in names]
        self.keep = ms.Tensor(decay, ms.float32)
        self.take = ms.Tensor(1.0 - decay, ms.float32)
        self.map = ops.HyperMap()

    def state(self) -> dict[str, ms.Parameter]:
        """The averages by name, for checkpoints."""
        return dict(zip(self.names, self.averages, strict=True))

    def construct(self, done: ms.Tensor) -> ms.Tensor:
        done = ops.depend(done, done)
        self.map(ops.partial(_average, self.keep, self.take), self.averages, self.params)
        return done
