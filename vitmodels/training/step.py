"""The compiled training step: one graph from pixels to updated weights.

The graph normalises, mixes, runs the net forward and backward, sums over ranks, unscales, clips and updates. With
B images and P parameters on this rank its values are, in the order in which they appear:

    images      uint8 (B, H, W, 3)      pixels as they were read
    targets     float32 (B, classes)    labels, smoothed and mixed
    lam         float32 (B,)            share of each image outside its box; None: no mixing
    box         int32 (B, 4)            top, bottom, left, right of what the neighbour gives; None: no mixing
    masks       float32 (B, width)      uniform numbers for stochastic depth and dropout; None: nothing is dropped
    loss_scale  float32 ()              factor on the loss, so that float16 gradients don't vanish; 1 in float32 and bfloat16
    stop        float32 (1,)            1 when this rank has received the signal to stop, else 0
    control     float32 (5,)            lr', eps', decay' (see `optim.adam_scalars`), 1 / loss_scale, 1 / micro-batches

    gradients   P tensors, of loss x loss_scale; then the loss (1,) and the stop flag (1,)
    outcome     float32 (4,)            loss, sum of stop flags, 1 when the gradients are finite, their norm before clipping

Loss and stop flag are the last two gradients: so a rank sends one message per step, and all ranks learn at the
same step that one of them must stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import mindspore as ms
from mindspore import nn, ops

from vitmodels.config import Recipe
from vitmodels.device.compat import split_by_sizes
from vitmodels.device.kernels import operators
from vitmodels.images.batches import Batch
from vitmodels.nets.pixels import normalise_layer
from vitmodels.training.loss import soft_cross_entropy
from vitmodels.training.optim import Average, Update

NORM_EPS = 1e-6  # added to the norm before dividing, as in torch's clip_grad_norm_
Tensors = tuple[ms.Tensor, ...]


class StepInputs(NamedTuple):
    """What one micro-batch feeds into the graph; see the table above.

    Cells are called with `*inputs`: MindSpore takes a tuple for a constant and would compile anew at every step.
    """

    images: ms.Tensor
    targets: ms.Tensor
    lam: ms.Tensor | None
    box: ms.Tensor | None
    masks: ms.Tensor | None
    loss_scale: ms.Tensor
    stop: ms.Tensor

    @classmethod
    def of(cls, batch: Batch, loss_scale: float, stop: bool) -> StepInputs:
        """The arrays of `batch` as tensors."""
        mix, masks = batch.mix, batch.masks
        return cls(
            images=ms.Tensor(batch.images),
            targets=ms.Tensor(batch.targets),
            lam=None if mix is None else ms.Tensor(mix.lam),
            box=None if mix is None else ms.Tensor(mix.box),
            masks=None if masks is None else ms.Tensor(masks),
            loss_scale=ms.Tensor(loss_scale, ms.float32),
            stop=ms.Tensor([float(stop)], ms.float32),
        )


class Loss(nn.Cell):
    """The scaled loss of one micro-batch, and the plain one."""

    def __init__(self, model: nn.Cell, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self.normalise = normalise_layer(recipe.mean, recipe.std)

    def construct(
        self, images: Any, targets: Any, lam: Any, box: Any, masks: Any, loss_scale: Any
    ) -> tuple[ms.Tensor, ms.Tensor]:
        x = self.normalise(images, lam, box)  # (B, 3, H, W)
        logits = self.model(x) if masks is None else self.model(x, masks)  # (B, classes)
        loss = soft_cross_entropy(logits.astype(ms.float32), targets)
        return loss * loss_scale, loss


class Gradients(nn.Cell):
    """`StepInputs` of one micro-batch -> gradients, not yet reduced."""

    def __init__(self, loss: Loss, params: Sequence[ms.Parameter]) -> None:
        super().__init__()
        self.params = ms.ParameterTuple(params)
        self.differentiate = ms.value_and_grad(loss, None, self.params, has_aux=True)

    def construct(self, *inputs: Any) -> Tensors:
        (_, loss), gradients = self.differentiate(*inputs[:-1])
        return (*gradients, ops.reshape(loss, (1,)), inputs[-1])


class AddGradients(nn.Cell):
    """The sum of the gradients of two micro-batches."""

    def __init__(self) -> None:
        super().__init__()
        self.map = ops.HyperMap()

    def construct(self, one: Tensors, other: Tensors) -> Tensors:
        return self.map(_add, one, other)


class SumOverRanks(nn.Cell):
    """The sum of the gradients of all ranks, in one message."""

    def __init__(self, params: Sequence[ms.Parameter]) -> None:
        super().__init__()
        self.params = ms.ParameterTuple(params)
        self.sizes = (*(int(param.size) for param in params), 1, 1)
        self.map = ops.HyperMap()
        self.all_reduce = ops.AllReduce(ops.ReduceOp.SUM)
        self.split = split_by_sizes()

    def construct(self, gradients: Tensors) -> Tensors:
        message = self.all_reduce(ops.concat(self.map(_flatten, gradients)))
        parts = self.split(message, self.sizes, 0)
        return (*self.map(_shape_like, parts[:-2], self.params), *parts[-2:])


class ApplyGradients(nn.Cell):
    """Gradients and `control` -> `outcome`: reduces, unscales, clips and updates the weights.

    `checked`: gradients that are not finite leave the weights as they are.
    """

    def __init__(
        self, params: Sequence[ms.Parameter], names: Sequence[str], recipe: Recipe, ranks: int, checked: bool
    ) -> None:
        super().__init__()
        self.ranks = ranks
        self.sum_over_ranks = SumOverRanks(params) if ranks > 1 else None
        self.update = Update(params, names, recipe)
        self.average = Average(params, names, recipe.ema) if recipe.ema else None
        self.clip = recipe.clip_global_norm_value
        self.checked = checked
        self.square_sum = operators.square_sum() if self.update.own_kernel else _square_sum
        self.map = ops.HyperMap()

    def construct(self, gradients: Tensors, control: ms.Tensor) -> ms.Tensor:
        share = control[4] / self.ranks
        if self.sum_over_ranks is not None:
            gradients = self.sum_over_ranks(gradients)
        grads, loss, stop = gradients[:-2], gradients[-2][0] * share, gradients[-1][0]
        factor = share * control[3]
        norm = ops.sqrt(ops.stack(self.map(self.square_sum, grads)).sum()) * factor
        finite = ops.isfinite(norm)
        if self.clip > 0:
            factor = factor * ops.minimum(self.clip / (norm + NORM_EPS), ops.ones_like(norm))
        if self.checked:
            if finite:
                self._update(grads, factor, control)
        else:
            self._update(grads, factor, control)
        return ops.stack((loss, stop, finite.astype(ms.float32), norm))

    def _update(self, grads: Tensors, factor: ms.Tensor, control: ms.Tensor) -> ms.Tensor:
        done = self.update(grads, factor, control[:3])
        if self.average is not None:
            done = self.average(done)
        return done


class WholeStep(nn.Cell):
    """`StepInputs` and `control` -> `outcome`, in one graph; for recipes without accumulation."""

    def __init__(self, gradients: Gradients, apply: ApplyGradients) -> None:
        super().__init__()
        self.gradients = gradients
        self.apply_gradients = apply

    def construct(self, *inputs_and_control: Any) -> ms.Tensor:
        return self.apply_gradients(self.gradients(*inputs_and_control[:-1]), inputs_and_control[-1])


def ordered_sum(x: ms.Tensor) -> ms.Tensor:
    """The sum of a parameter's elements, the same to the last bit at every call.

    MindSpore's CPU operator splits a vector of 200,000 elements or more into as many parts as were fastest when it
    timed itself, and adds the parts up as they finish, so the last bit varies. A row, or a shorter vector, is always
    added up by one thread.
    """
    return ops.reduce_sum(ops.reduce_sum(x, -1))


# Functions of one gradient, mapped over all of them; `Update` says why there is no loop.
_flatten: Any = ops.MultitypeFuncGraph("flatten")
_shape_like: Any = ops.MultitypeFuncGraph("shape_like")
_add: Any = ops.MultitypeFuncGraph("add")
_square_sum: Any = ops.MultitypeFuncGraph("square_sum")


@_flatten.register("Tensor")
def _flatten_one(grad: Any) -> Any:
    return ops.reshape(grad, (-1,))


@_shape_like.register("Tensor", "Tensor")
def _shape_one(part: Any, param: Any) -> Any:
    return ops.reshape(part, param.shape)


@_add.register("Tensor", "Tensor")
def _add_one(one: Any, other: Any) -> Any:
    return one + other


@_square_sum.register("Tensor")
def _square_sum_one(grad: Any) -> Any:
    return ordered_sum(grad * grad)
