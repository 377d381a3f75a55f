"""Weights into a net and out of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from mindspore import Tensor, nn

from vitmodels.nets.layouts import convert
from vitmodels.nets.shapes import check_shapes
from vitmodels.nets.weightfiles import Weights, read_weights


def load_weights(model: nn.Cell, weights: Mapping[str, np.ndarray]) -> None:
    """Set every parameter of a ViT or TNT from our names. Raises CheckpointError when they don't match exactly."""
    parameters = dict(model.parameters_and_names())
    check_shapes(weights, {name: tuple(value.shape) for name, value in parameters.items()})
    for name, parameter in parameters.items():
        parameter.set_data(Tensor(np.asarray(weights[name], np.float32)))


def load_pretrained(model: nn.Cell, path: str | Path) -> list[str]:
    """Start a model from a file of any layout known here; returns notes on what was changed."""
    parameters = dict(model.parameters_and_names())
    converted = convert(read_weights(path), model.config, int(parameters["head.bias"].shape[0]))
    for name, value in converted.weights.items():
        parameters[name].set_data(Tensor(value))
    return converted.notes


def model_weights(model: nn.Cell) -> Weights:
    """A copy of every parameter under timm's names."""
    return {name: value.asnumpy().copy() for name, value in model.parameters_and_names()}
