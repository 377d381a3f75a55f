"""The optimisers as one graph cell: it takes the reduced gradient as one flat vector and updates in place.

adamw              bias-corrected, as torch and timm have it (Loshchilov, Hutter 2019)
adam_weight_decay  MindSpore's `nn.AdamWeightDecay`: the same without bias correction. Its first steps are
                   about three times larger, so rates are not interchangeable with adamw. The published
                   figures of the two READMEs were made with it (TNT) and with momentum (vit_base).
momentum           SGD with momentum; the decay is added to the gradient

Both Adam forms use the fused operator p -= lr' * (m / (sqrt(v) + eps') + decay' * p), whose three scalars
are chosen per step so that it is exactly the wanted formula (`adam_scalars`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from vitmodels.config import Recipe

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


class Update(nn.Cell):
    """Applies one update to `params` from a flat gradient; owns the moments.

    `scalars` is float32 (3,): lr', eps', decay' (see `adam_scalars`). `names` are the parameters' names in the
    model: a cell adds a prefix of its own to those of what it holds.
    """

    def __init__(self, params: Sequence[ms.Parameter], names: Sequence[str], recipe: Recipe) -> None:
        super().__init__()
        self.params = ms.ParameterTuple(params)
        shapes = [tuple(int(n) for n in param.shape) for param in params]
        ends = np.cumsum([math.prod(shape) for shape in shapes]).tolist()
        self.places = tuple(zip([0, *ends[:-1]], ends, shapes, strict=True))
        self.decayed = tuple(decays(name, shape) for name, shape in zip(names, shapes, strict=True))
        self.adam = recipe.optimizer != "momentum"
        self.names = [f"{moment}.{name}" for moment in ("m", "v")[: 1 + self.adam] for name in names]
        moments = [
            ms.Parameter(ms.Tensor(np.zeros(shape, np.float32)), name=name)
            for name, shape in zip(self.names, shapes * 2, strict=False)
        ]
        self.first = ms.ParameterTuple(moments[: len(params)])
        self.second = ms.ParameterTuple(moments[len(params) :])
        self.beta1 = ms.Tensor(recipe.beta[0], ms.float32)
        self.beta2 = ms.Tensor(recipe.beta[1], ms.float32)
        self.momentum = ms.Tensor(recipe.momentum, ms.float32)
        self.zero = ms.Tensor(0.0, ms.float32)
        self.fused = ops.AdamWeightDecay()
        self.apply_momentum = ops.ApplyMomentum()

    def state(self) -> dict[str, ms.Parameter]:
        """The moments by name, for checkpoints."""
        return dict(zip(self.names, (*self.first, *self.second), strict=True))

    def construct(self, flat: ms.Tensor, scalars: ms.Tensor) -> ms.Tensor:
        rate, eps, decay = scalars[0], scalars[1], scalars[2]
        for index in range(len(self.params)):
            begin, end, shape = self.places[index]
            grad = ops.reshape(flat[begin:end], shape)
            param = self.params[index]
            own = decay if self.decayed[index] else self.zero
            if self.adam:
                self.fused(
                    param, self.first[index], self.second[index], rate, self.beta1, self.beta2, eps, own, grad
                )
            else:
                full = grad + own * param if self.decayed[index] else grad
                self.apply_momentum(param, self.first[index], rate, full, self.momentum)
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
        self.decay = decay

    def state(self) -> dict[str, ms.Parameter]:
        """The averages by name, for checkpoints."""
        return dict(zip(self.names, self.averages, strict=True))

    def construct(self, done: ms.Tensor) -> ms.Tensor:
        done = ops.depend(done, done)
        for index in range(len(self.params)):
            old = self.averages[index]
            ops.assign(old, old * self.decay + self.params[index] * (1.0 - self.decay))
        return done
