"""Weights of other frameworks in timm's names and shapes, resized for our nets.

Known layouts: timm's own, that of the TNT authors' PyTorch code, and that of the original ViT in Flax.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vitmodels.archs import ModelConfig
from vitmodels.nets.shapes import check_shapes, expected_shapes
from vitmodels.nets.weightfiles import Weights

HEAD = ("head.weight", "head.bias")
# Layers of published checkpoints that the classifiers here don't have.
_IGNORED = re.compile(r"^(pre_logits\.|outer_tokens$|head_dist\.)")
# The TNT authors' names and timm's. Longer names come first, because they contain the shorter ones.
_TNT_NAMES = (
    ("outer_pos", "patch_pos"),
    ("inner_pos", "pixel_pos"),
    ("patch_embed", "pixel_embed"),
    ("proj_norm1", "norm1_proj"),
    ("proj_norm2", "norm2_proj"),
    ("inner_norm1", "norm_in"),
    ("inner_norm2", "norm_mlp_in"),
    ("inner_attn", "attn_in"),
    ("inner_mlp", "mlp_in"),
    ("outer_norm1", "norm_out"),
    ("outer_norm2", "norm_mlp"),
    ("outer_attn", "attn_out"),
    ("outer_mlp", "mlp"),
)


@dataclass(frozen=True)
class Converted:
    """Weights that fit a model, and what was done to them. Without a head, the model keeps its own."""

    weights: Weights
    notes: list[str] = field(default_factory=list)


def convert(source: Mapping[str, np.ndarray], config: ModelConfig, num_classes: int) -> Converted:
    """`source` in our names and for our sizes.

    Positions are interpolated to the model's patch grid; a head of another class count is left out.
    Raises CheckpointError when the result lacks a weight, has one too many, or one of another shape.
    """
    notes: list[str] = []
    if any(name.startswith("params/") for name in source):  # as newer Flax writes them
        source = {name.removeprefix("params/"): value for name, value in source.items()}
    if "embedding/kernel" in source:
        weights = from_npz(source)
        notes.append("read as a checkpoint of the original ViT")
    else:
        weights = {name.removeprefix("module."): np.asarray(value) for name, value in source.items()}
        if config.family == "tnt" and "outer_pos" in weights:
            weights = from_authors_tnt(weights)
            notes.append("read as a checkpoint of the TNT authors")
    for name in [name for name in weights if _IGNORED.match(name)]:
        del weights[name]
        notes.append(f"{name} is not used")
    _fit_positions(weights, config, notes)
    shapes = expected_shapes(config, num_classes)
    if HEAD[0] in weights and weights[HEAD[0]].shape[0] != num_classes:
        notes.append(
            f"the head of {weights[HEAD[0]].shape[0]} classes is not used, the model has {num_classes}"
        )
        for name in HEAD:
            weights.pop(name, None)
    check_shapes(weights, {k: v for k, v in shapes.items() if k in weights or k not in HEAD})
    return Converted({name: np.asarray(value, np.float32) for name, value in weights.items()}, notes)


def _fit_positions(weights: Weights, config: ModelConfig, notes: list[str]) -> None:
    name = "patch_pos" if config.family == "tnt" else "pos_embed"
    positions = weights.get(name)
    if positions is None or positions.ndim != 3 or positions.shape[1] == config.patches + 1:
        return
    old = round((positions.shape[1] - 1) ** 0.5)
    if old * old == positions.shape[1] - 1:
        weights[name] = resize_positions(positions, config.grid)
        notes.append(f"{name} is interpolated from {old}x{old} to {config.grid}x{config.grid} patches")


def from_authors_tnt(weights: Weights) -> Weights:
    """timm's names and shapes for a checkpoint of the TNT authors' PyTorch code."""
    renamed: Weights = {}
    for name, value in weights.items():
        for theirs, ours in _TNT_NAMES:
            name = name.replace(theirs, ours)  # noqa: PLW2901  (renamed step by step)
        if name == "pixel_pos" and value.ndim == 3:  # (1, pixels, c) there, (1, c, h, w) here
            side = round(value.shape[1] ** 0.5)
            value = value.transpose(0, 2, 1).reshape(1, value.shape[2], side, side)  # noqa: PLW2901
        renamed[name] = value
    return renamed


def from_npz(arrays: Mapping[str, np.ndarray]) -> Weights:
    """timm's names and shapes for the arrays of an original ViT checkpoint (kernels there are transposed)."""
    weights = {
        "cls_token": arrays["cls"],
        "pos_embed": arrays["Transformer/posembed_input/pos_embedding"],
        "patch_embed.proj.weight": arrays["embedding/kernel"].transpose(3, 2, 0, 1),
        "patch_embed.proj.bias": arrays["embedding/bias"],
        "norm.weight": arrays["Transformer/encoder_norm/scale"],
        "norm.bias": arrays["Transformer/encoder_norm/bias"],
    }
    if "head/kernel" in arrays:
        weights["head.weight"] = arrays["head/kernel"].T
        weights["head.bias"] = arrays["head/bias"]
    block = 0
    while f"Transformer/encoderblock_{block}/LayerNorm_0/scale" in arrays:
        prefix = f"Transformer/encoderblock_{block}/"
        part = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
        weights.update({f"blocks.{block}.{name}": value for name, value in _npz_block(part).items()})
        block += 1
    return weights


def _npz_block(arrays: Mapping[str, np.ndarray]) -> Weights:
    attention = "MultiHeadDotProductAttention_1/"
    dim = arrays["LayerNorm_0/scale"].shape[0]
    three = ("query", "key", "value")
    return {
        "norm1.weight": arrays["LayerNorm_0/scale"],
        "norm1.bias": arrays["LayerNorm_0/bias"],
        "attn.qkv.weight": np.concatenate(
            [arrays[f"{attention}{n}/kernel"].reshape(dim, dim).T for n in three]
        ),
        "attn.qkv.bias": np.concatenate([arrays[f"{attention}{n}/bias"].reshape(-1) for n in three]),
        "attn.proj.weight": arrays[f"{attention}out/kernel"].reshape(dim, dim).T,
        "attn.proj.bias": arrays[f"{attention}out/bias"],
        "norm2.weight": arrays["LayerNorm_2/scale"],
        "norm2.bias": arrays["LayerNorm_2/bias"],
        "mlp.fc1.weight": arrays["MlpBlock_3/Dense_0/kernel"].T,
        "mlp.fc1.bias": arrays["MlpBlock_3/Dense_0/bias"],
        "mlp.fc2.weight": arrays["MlpBlock_3/Dense_1/kernel"].T,
        "mlp.fc2.bias": arrays["MlpBlock_3/Dense_1/bias"],
    }


def resize_positions(positions: np.ndarray, grid: int) -> np.ndarray:
    """(1, 1 + old*old, dim) to (1, 1 + grid*grid, dim): bicubic with antialiasing, the class token untouched."""
    old = round((positions.shape[1] - 1) ** 0.5)
    image = positions[0, 1:].reshape(old, old, -1).astype(np.float64)
    matrix = cubic_matrix(old, grid)  # (grid, old)
    image = np.einsum("yi,xj,ijc->yxc", matrix, matrix, image).reshape(1, grid * grid, -1)
    return np.concatenate([positions[:, :1], image.astype(np.float32)], axis=1)


def cubic_matrix(old: int, new: int) -> np.ndarray:
    """(new, old) weights of a one-dimensional bicubic resize (a = -0.5) whose kernel widens when it shrinks."""
    scale = old / new
    stretch = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    x = np.abs((np.arange(old)[None, :] + 0.5 - centres[:, None]) / stretch)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    matrix = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    return np.asarray(matrix / matrix.sum(axis=1, keepdims=True))
