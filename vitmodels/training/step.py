"""The compiled parts of training and evaluation.

A training step is one graph: normalise, mix, forward, loss, backward, sum over ranks, unscale, clip, update. Between
ranks the gradients travel as one flat vector, so that a rank sends one message per step. Two numbers ride on
its end: the loss, and a wish to stop, which therefore reaches every rank at the same step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.ops.auto_generate import SplitWithSize

from vitmodels.config import Recipe
from vitmodels.device.compat import compiled_kernels
from vitmodels.device.kernels import operators
from vitmodels.images.batches import Batch
from vitmodels.training.loss import mix_images, soft_cross_entropy
from vitmodels.training.optim import Average, Update, adam_scalars, decayed_first

OVERFLOW_EPS = 1e-6  # added to the norm before dividing, as in torch's clip_grad_norm_


class Normalise(nn.Cell):
    """uint8 (B, H, W, 3) to float32 (B, 3, H, W) with the recipe's mean and deviation.

    With lam and box, also mixed with the neighbour as `mix_images` does. On CPU both are one compiled operator, at any
    precision of the net: nothing here is float16.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.scale = ms.Tensor(1.0 / (255.0 * np.array(recipe.std)), ms.float32)
        self.offset = ms.Tensor(-np.array(recipe.mean) / np.array(recipe.std), ms.float32)
        self.uses_kernel = compiled_kernels()
        if self.uses_kernel:
            self.kernel, self.mixing_kernel = operators.normalise(), operators.normalise_and_mix()

    def construct(self, images: ms.Tensor, lam: Any = None, box: Any = None) -> ms.Tensor:
        if self.uses_kernel:
            if lam is None:
                return self.kernel(images, self.scale, self.offset)
            return self.mixing_kernel(images, self.scale, self.offset, lam, box)
        x = (images.astype(ms.float32) * self.scale + self.offset).transpose(0, 3, 1, 2)  # (B, 3, H, W)
        return x if lam is None else mix_images(x, lam, box)


class Loss(nn.Cell):
    """The scaled loss of one micro-batch, and the plain one."""

    def __init__(self, model: nn.Cell, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self.normalise = Normalise(recipe)

    def construct(self, images: Any, targets: Any, lam: Any, box: Any, masks: Any, scale: Any) -> Any:
        x = self.normalise(images, lam, box)
        logits = self.model(x) if masks is None else self.model(x, masks)
        loss = soft_cross_entropy(logits.astype(ms.float32), targets)
        return loss * scale, loss


def ordered_sum(x: ms.Tensor) -> ms.Tensor:
    """The sum of a parameter's elements, in an order that does not depend on threads.

    MindSpore's CPU operator adds up a vector of 200,000 elements or more in as many parts as were fastest when
    it timed itself, and these in the order in which they are done; so the last bit is luck, and training
    carries it on. The sum of a row is always made by one thread, and that of a shorter vector, too.
    """
    return ops.reduce_sum(ops.reduce_sum(x, -1))


# Small functions to be mapped over all gradients; see `Update` for why they are not in a loop.
_flat: Any = ops.MultitypeFuncGraph("flat")
_shaped: Any = ops.MultitypeFuncGraph("shaped")
_plus: Any = ops.MultitypeFuncGraph("plus")
_times: Any = ops.MultitypeFuncGraph("times")
_square_sum: Any = ops.MultitypeFuncGraph("square_sum")


@_flat.register("Tensor")
def _flat_one(grad: Any) -> Any:
    return ops.reshape(grad, (-1,))


@_shaped.register("Tensor", "Tensor")
def _shaped_one(part: Any, param: Any) -> Any:
    return ops.reshape(part, param.shape)


@_plus.register("Tensor", "Tensor")
def _plus_one(one: Any, other: Any) -> Any:
    return one + other


@_times.register("Tensor", "Tensor")
def _times_one(factor: Any, grad: Any) -> Any:
    return grad * factor


@_square_sum.register("Tensor")
def _square_sum_one(grad: Any) -> Any:
    return ordered_sum(grad * grad)


class Gradient(nn.Cell):
    """Gradients of one micro-batch, the loss and the wish to stop, each (1,), as one tuple; not yet reduced."""

    def __init__(self, loss: Loss, params: Sequence[ms.Parameter]) -> None:
        super().__init__()
        self.params = ms.ParameterTuple(params)
        self.grad = ms.value_and_grad(loss, None, self.params, has_aux=True)

    def construct(
        self, images: Any, targets: Any, lam: Any, box: Any, masks: Any, scale: Any, stop: Any
    ) -> tuple[ms.Tensor, ...]:
        (_, loss), grads = self.grad(images, targets, lam, box, masks, scale)
        return (*grads, ops.reshape(loss, (1,)), stop)


class Add(nn.Cell):
    """The sum of what `Gradient` returned for two micro-batches."""

    def __init__(self) -> None:
        super().__init__()
        self.map = ops.HyperMap()

    def construct(self, one: tuple[ms.Tensor, ...], other: tuple[ms.Tensor, ...]) -> tuple[ms.Tensor, ...]:
        return self.map(_plus, one, other)


class AddRanks(nn.Cell):
    """The sum over all ranks of what `Gradient` returned, in one message."""

    def __init__(self, params: Sequence[ms.Parameter]) -> None:
        super().__init__()
        self.params = ms.ParameterTuple(params)
        self.sizes = (*(int(param.size) for param in params), 1, 1)
        self.map = ops.HyperMap()
        self.reduce = ops.AllReduce(ops.ReduceOp.SUM)
        self.split = SplitWithSize()

    def construct(self, parts: tuple[ms.Tensor, ...]) -> tuple[ms.Tensor, ...]:
        flat = self.reduce(ops.concat(self.map(_flat, parts)))
        parts = self.split(flat, self.sizes, 0)
        return (*self.map(_shaped, parts[:-2], self.params), *parts[-2:])


class Apply(nn.Cell):
    """Reduce, unscale, clip, update. Returns float32 (4,): loss, wish to stop, finite, gradient norm.

    `control` is float32 (5,): lr', eps', decay' of the update, 1 / loss scale, 1 / micro-batches.
    """

    def __init__(
        self, params: Sequence[ms.Parameter], names: Sequence[str], recipe: Recipe, ranks: int, checked: bool
    ) -> None:
        super().__init__()
        self.ranks = ranks
        self.reduce = AddRanks(params) if ranks > 1 else None
        self.update = Update(params, names, recipe)
        self.average = Average(params, names, recipe.ema) if recipe.ema else None
        self.clip = recipe.clip_global_norm_value
        self.checked = checked
        self.map = ops.HyperMap()

    def construct(self, parts: tuple[ms.Tensor, ...], control: ms.Tensor) -> ms.Tensor:
        share = control[4] / self.ranks
        if self.reduce is not None:
            parts = self.reduce(parts)
        grads, loss, stop = parts[:-2], parts[-2][0] * share, parts[-1][0]
        factor = share * control[3]
        norm = ops.sqrt(ops.stack(self.map(_square_sum, grads)).sum()) * factor
        finite = ops.isfinite(norm)
        if self.clip > 0:
            factor = factor * ops.minimum(self.clip / (norm + OVERFLOW_EPS), ops.ones_like(norm))
        grads = self.map(ops.partial(_times, factor), grads)
        if self.checked:
            if finite:
                self._move(grads, control)
        else:
            self._move(grads, control)
        return ops.stack((loss, stop, finite.astype(ms.float32), norm))

    def _move(self, grads: tuple[ms.Tensor, ...], control: ms.Tensor) -> ms.Tensor:
        done = self.update(grads, control[:3])
        if self.average is not None:
            done = self.average(done)
        return done


class Whole(nn.Cell):
    """Gradient and Apply in one graph, for recipes without accumulation."""

    def __init__(self, gradient: Gradient, apply: Apply) -> None:
        super().__init__()
        self.gradient = gradient
        self.apply_update = apply

    def construct(
        self, images: Any, targets: Any, lam: Any, box: Any, masks: Any, scale: Any, stop: Any, control: Any
    ) -> ms.Tensor:
        return self.apply_update(self.gradient(images, targets, lam, box, masks, scale, stop), control)


@dataclass
class LossScale:
    """Halved on overflow, doubled after `window` good updates. At amp_level O0 it stays 1."""

    value: float
    dynamic: bool
    window: int
    good: int = 0

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> LossScale:
        on = recipe.amp_level != "O0"
        return cls(
            recipe.loss_scale if on else 1.0, on and recipe.is_dynamic_loss_scale, recipe.loss_scale_window
        )

    def adjust(self, finite: bool) -> None:
        """Take note of one update."""
        if not self.dynamic:
            return
        if not finite:
            self.value, self.good = max(1.0, self.value / 2), 0
            return
        self.good += 1
        if self.good >= self.window:
            self.value, self.good = min(self.value * 2, 2.0**24), 0


@dataclass(frozen=True)
class StepResult:
    """What the host learns of one update."""

    loss: float
    stop: bool
    finite: bool
    norm: float


class Trainer:
    """The weights, the optimiser's state and the compiled step of one rank."""

    def __init__(self, model: nn.Cell, recipe: Recipe, ranks: int) -> None:
        self.recipe = recipe
        self.model = model
        self.params = decayed_first(model.trainable_params())
        self.names = [param.name for param in self.params]  # the cells below rename what they hold
        self.scale = LossScale.from_recipe(recipe)
        self.updates = 0
        checked = recipe.amp_level != "O0"
        gradient = Gradient(Loss(model, recipe), self.params)
        self.applier = Apply(self.params, self.names, recipe, ranks, checked)
        self._gradient = gradient if recipe.accumulate > 1 else None
        self._whole = Whole(gradient, self.applier) if recipe.accumulate == 1 else None
        self._add = Add()
        for cell in (self._gradient, self._whole, self.applier):
            if cell is not None:
                cell.set_train()

    def step(self, micros: list[Batch], lr: float, stop: bool) -> StepResult:
        """One update from the recipe's number of micro-batches."""
        scalars = adam_scalars(self.recipe, lr, self.updates + 1)
        control = ms.Tensor(np.array([*scalars, 1.0 / self.scale.value, 1.0 / len(micros)], np.float32))
        scale = ms.Tensor(self.scale.value, ms.float32)
        wish = ms.Tensor(np.array([float(stop)], np.float32))
        if self._whole is not None:
            out = self._whole(*_inputs(micros[0]), scale, wish, control)
        else:
            assert self._gradient is not None
            parts = None
            for micro in micros:
                part = self._gradient(*_inputs(micro), scale, wish)
                parts = part if parts is None else self._add(parts, part)
            out = self.applier(parts, control)
        loss, wishes, finite, norm = out.asnumpy().tolist()
        good = bool(finite) or not self.applier.checked
        self.updates += good
        self.scale.adjust(good)
        return StepResult(loss, wishes > 0, bool(finite), norm)

    def weights(self) -> dict[str, np.ndarray]:
        """A copy of the weights by name."""
        return {name: param.asnumpy().copy() for name, param in zip(self.names, self.params, strict=True)}

    def state(self) -> dict[str, np.ndarray]:
        """A copy of everything else that training carries from step to step."""
        found = {name: param.asnumpy().copy() for name, param in self.applier.update.state().items()}
        if self.applier.average is not None:
            found.update(
                {name: param.asnumpy().copy() for name, param in self.applier.average.state().items()}
            )
        found["trainer"] = np.array([self.updates, self.scale.good], np.int64)
        found["loss_scale"] = np.array([self.scale.value], np.float64)
        return found

    def load(self, weights: dict[str, np.ndarray], state: dict[str, np.ndarray]) -> None:
        """Continue from what `weights` and `state` returned. Raises KeyError for a missing entry."""
        for name, param in zip(self.names, self.params, strict=True):
            param.set_data(ms.Tensor(weights[name]))
        others = dict(self.applier.update.state())
        if self.applier.average is not None:
            others.update(self.applier.average.state())
        for name, param in others.items():
            param.set_data(ms.Tensor(state[name]))
        self.updates, self.scale.good = (int(value) for value in state["trainer"])
        self.scale.value = float(state["loss_scale"][0])


def _inputs(batch: Batch) -> tuple[Any, ...]:
    mix, masks = batch.mix, batch.masks
    return (
        ms.Tensor(batch.images),
        ms.Tensor(batch.targets),
        None if mix is None else ms.Tensor(mix.lam),
        None if mix is None else ms.Tensor(mix.box),
        None if masks is None else ms.Tensor(masks),
    )


class Predictor(nn.Cell):
    """uint8 images to float32 logits, one compiled shape."""

    def __init__(self, model: nn.Cell, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self.normalise = Normalise(recipe)

    def construct(self, images: ms.Tensor) -> ms.Tensor:
        return self.model(self.normalise(images)).astype(ms.float32)
