"""Weights into a net and out of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from mindspore import Tensor, nn

from vitmodels.errors import CheckpointError
from vitmodels.nets.layouts import HEAD, convert
from vitmodels.nets.shapes import check_shapes
from vitmodels.nets.weightfiles import Weights


def load_weights(model: nn.Cell, weights: Mapping[str, np.ndarray]) -> None:
    """Set every parameter of a ViT or TNT from our names. Raises CheckpointError when they don't match exactly."""
    parameters = dict(model.parameters_and_names())
    check_shapes(weights, {name: tuple(value.shape) for name, value in parameters.items()})
    for name, parameter in parameters.items():
        parameter.set_data(Tensor(np.asarray(weights[name], np.float32)))


def load_converted(model: nn.Cell, source: Mapping[str, np.ndarray], *, whole: bool) -> list[str]:
    """Set the parameters from weights of any known layout; returns notes on what was changed.

    A head of another class count is an error if the net must be `whole`, else the model keeps its own head.
    """
    parameters = dict(model.parameters_and_names())
    classes = int(parameters[HEAD[1]].shape[0])
    converted = convert(source, model.config, classes)
    if whole and HEAD[0] not in converted.weights:
        reason = next((note for note in converted.notes if note.startswith("the head")), "they have no head")
        raise CheckpointError(f"the weights don't fit the model: {reason}", hint="set num_classes")
    for name, value in converted.weights.items():
        parameters[name].set_data(Tensor(value))
    return converted.notes


def model_weights(model: nn.Cell) -> Weights:
    """A copy of every parameter under timm's names."""
    return {name: value.asnumpy().copy() for name, value in model.parameters_and_names()}
