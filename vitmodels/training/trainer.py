"""One rank's training state on the host: weights, optimiser state, loss scale, and the compiled step that moves them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import nn

from vitmodels.config import Recipe
from vitmodels.device.runtime import release_memory
from vitmodels.images.batches import Batch
from vitmodels.nets.precision import needs_loss_scale
from vitmodels.training.optim import adam_scalars, decayed_first, decays
from vitmodels.training.step import AddGradients, ApplyGradients, Gradients, Loss, StepInputs, WholeStep

Arrays = dict[str, np.ndarray]


@dataclass
class LossScale:
    """Halved on overflow, doubled after `window` good updates. It stays 1 at amp_level O0 and bf16."""

    value: float
    dynamic: bool
    window: int
    good: int = 0  # updates without overflow since the last change

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> LossScale:
        if not needs_loss_scale(recipe.amp_level):
            return cls(1.0, False, recipe.loss_scale_window)
        return cls(recipe.loss_scale, recipe.is_dynamic_loss_scale, recipe.loss_scale_window)

    def adjust(self, finite: bool) -> None:
        """Count one update, and change the scale when it is due."""
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
    """The outcome of one update. `stop`: a rank has received the signal to stop. Not `applied`: an overflow, so the weights stayed."""

    loss: float
    stop: bool
    finite: bool
    norm: float
    applied: bool = True


def all_finite(arrays: Iterable[np.ndarray]) -> bool:
    """Whether every number is finite."""
    return all(bool(np.isfinite(value).all()) for value in arrays)


def _copied(params: Iterable[tuple[str, ms.Parameter]], into: Arrays | None) -> Arrays:
    """Fresh memory costs more than the copy, so that of an earlier copy can be overwritten."""
    arrays = {} if into is None else into
    for name, param in params:
        value = param.asnumpy()
        if name in arrays:
            np.copyto(arrays[name], value)
        else:
            arrays[name] = value.copy()
    return arrays


class Trainer:
    """The weights, the optimiser's state and the compiled step of one rank."""

    def __init__(self, model: nn.Cell, recipe: Recipe, ranks: int) -> None:
        self.recipe = recipe
        self.model = model
        self.params = decayed_first(model.trainable_params())
        self.names = [
            param.name for param in self.params
        ]  # read now: the cells below rename their parameters
        self.decayed = sum(decays(param.name, param.shape) for param in self.params)
        self.scale = LossScale.from_recipe(recipe)
        self.updates = 0
        self.checked = needs_loss_scale(recipe.amp_level)
        self._gradients = Gradients(Loss(model, recipe), self.params)
        self._apply = ApplyGradients(self.params, self.names, recipe, ranks, self.checked)
        self._whole = WholeStep(self._gradients, self._apply)
        self._add = AddGradients()
        self._compiled = False
        for cell in (self._gradients, self._apply, self._whole):
            cell.set_train()

    def step(self, micros: list[Batch], lr: float, stop: bool) -> StepResult:
        """One update from the recipe's number of micro-batches."""
        inputs = [StepInputs.of(micro, self.scale.value, stop) for micro in micros]
        control = self._control(lr, len(micros))
        if len(inputs) == 1:
            if not self._compiled:
                self._whole.compile(*inputs[0], control)
                release_memory()
                self._compiled = True
            outcome = self._whole(*inputs[0], control)
        else:
            gradients = self._gradients(*inputs[0])
            for other in inputs[1:]:
                gradients = self._add(gradients, self._gradients(*other))
            outcome = self._apply(gradients, control)
        loss, stops, finite, norm = outcome.asnumpy().tolist()
        applied = bool(finite) or not self.checked
        self.updates += applied
        self.scale.adjust(applied)
        return StepResult(loss, stops > 0, bool(finite), norm, applied)

    def _control(self, lr: float, micros: int) -> ms.Tensor:
        scalars = adam_scalars(self.recipe, lr, self.updates + 1)
        return ms.Tensor(np.array([*scalars, 1.0 / self.scale.value, 1.0 / micros], np.float32))

    def _state_params(self) -> dict[str, ms.Parameter]:
        """The moments, and the averaged weights where the recipe keeps them, by name."""
        average = self._apply.average
        return {**self._apply.update.state(), **(average.state() if average is not None else {})}

    def weights(self, into: Arrays | None = None) -> Arrays:
        """A copy of the weights by name; `into` is an earlier one to overwrite."""
        return _copied(zip(self.names, self.params, strict=True), into)

    def state(self, into: Arrays | None = None) -> Arrays:
        """A copy of everything else that training carries from step to step; `into` as for `weights`."""
        arrays = _copied(self._state_params().items(), into)
        arrays["trainer"] = np.array([self.updates, self.scale.good], np.int64)
        arrays["loss_scale"] = np.array([self.scale.value], np.float64)
        return arrays

    def load(self, weights: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]) -> None:
        """Continue from what `weights` and `state` returned. Raises KeyError for a missing entry."""
        for name, param in zip(self.names, self.params, strict=True):
            param.set_data(ms.Tensor(weights[name]))
        for name, param in self._state_params().items():
            param.set_data(ms.Tensor(state[name]))
        self.updates, self.scale.good = (int(value) for value in state["trainer"])
        self.scale.value = float(state["loss_scale"][0])

    def restart_average(self) -> None:
        """Let the averaged weights begin at the weights that the model has now."""
        average = self._apply.average
        if average is not None:
            for param, mean in zip(self.params, average.averages, strict=True):
                mean.set_data(ms.Tensor(param.asnumpy().copy()))

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Inside, the model holds the averaged weights, if the recipe keeps an average; afterwards its own again."""
        average = self._apply.average
        if average is None:
            yield
            return
        own = [param.asnumpy().copy() for param in self.params]
        for param, mean in zip(self.params, average.averages, strict=True):
            param.set_data(ms.Tensor(mean.asnumpy().copy()))
        try:
            yield
        finally:
            for param, value in zip(self.params, own, strict=True):
                param.set_data(ms.Tensor(value))
