"""First values of parameters, distributed as in the reference implementations (timm 1.0, PyTorch's Conv2d).

Each parameter has its own generator, keyed by seed and name: another layer, or another order of construction, changes no
other value.
"""

from __future__ import annotations

import zlib

import numpy as np
from mindspore import Tensor, nn

from vitmodels.archs import ModelConfig


def initial_value(name: str, shape: tuple[int, ...], config: ModelConfig, seed: int) -> np.ndarray:
    """The value of one parameter.

    Dense weights, positions and TNT's class token: normal, with the architecture's deviations (0.02 in the
    reference, which also cuts at +-2, a hundred of them). Convolution, weight and bias: uniform within
    1 / sqrt(fan in). ViT's class token: normal, 1e-6. LayerNorm: one and zero. Other biases: zero.
    """
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if name.endswith(("_embed.proj.weight", "_embed.proj.bias")):
        kernel = 7 if config.family == "tnt" else config.patch_size
        bound = (3 * kernel * kernel) ** -0.5
        return rng.uniform(-bound, bound, shape).astype(np.float32)
    if name.endswith("bias"):
        return np.zeros(shape, np.float32)
    if len(shape) == 1:
        return np.ones(shape, np.float32)
    return (_deviation(name, config) * rng.standard_normal(shape)).clip(-2, 2).astype(np.float32)


def _deviation(name: str, config: ModelConfig) -> float:
    if name == "cls_token":
        return 1e-6 if config.family == "vit" else 0.02
    if name in ("patch_pos", "pos_embed"):
        return config.pos_std
    return 0.02 if name == "pixel_pos" else config.init_std


def initialise(model: nn.Cell, seed: int) -> None:
    """Sets every parameter of a ViT or TNT."""
    for name, parameter in model.parameters_and_names():
        parameter.set_data(Tensor(initial_value(name, tuple(parameter.shape), model.config, seed)))
