"""First values of parameters, distributed as in the reference implementations (timm 1.0, PyTorch's Conv2d).

Each parameter has a generator of its own, keyed by seed and name, so that adding a layer or changing the
order of construction changes no other value.
"""

from __future__ import annotations

import zlib

import numpy as np
from mindspore import Tensor, nn


def initial_value(name: str, shape: tuple[int, ...], family: str, patch_fan_in: int, seed: int) -> np.ndarray:
    """The value of one parameter.

    Dense weights and positions: normal, deviation 0.02 (the reference cuts it at +-2, a hundred deviations).
    Convolution, weight and bias: uniform within 1 / sqrt(fan in). ViT's class token: normal, 1e-6.
    LayerNorm: one and zero. Other biases: zero.
    """
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if name.endswith(("_embed.proj.weight", "_embed.proj.bias")):
        bound = patch_fan_in**-0.5
        return rng.uniform(-bound, bound, shape).astype(np.float32)
    if name == "cls_token" and family == "vit":
        return (1e-6 * rng.standard_normal(shape)).astype(np.float32)
    if name.endswith("bias"):
        return np.zeros(shape, np.float32)
    if len(shape) == 1:
        return np.ones(shape, np.float32)
    return (0.02 * rng.standard_normal(shape)).clip(-2, 2).astype(np.float32)


def initialise(model: nn.Cell, seed: int) -> None:
    """Sets every parameter of a ViT or TNT."""
    config = model.config
    kernel = 7 if config.family == "tnt" else config.patch_size
    for name, parameter in model.parameters_and_names():
        value = initial_value(name, tuple(parameter.shape), config.family, 3 * kernel * kernel, seed)
        parameter.set_data(Tensor(value))
