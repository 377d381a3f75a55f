"""Weights of other frameworks in timm's names and shapes, resized for our nets.

Known layouts: timm's own, that of the TNT authors' PyTorch code, that of the original ViT in Flax, and those in `peers`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from vitmodels.archs import ARCHS, ModelConfig
from vitmodels.errors import CheckpointError
from vitmodels.nets.peers import DISTILLED, from_peer, peer_of, unwrapped
from vitmodels.nets.shapes import (
    check_finite,
    check_kinds,
    check_shapes,
    expected_shapes,
    listing_of_problems,
)
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


@dataclass(frozen=True)
class Origin:
    """The net that weights were made for. `image_size` fits their positions."""

    arch: str
    num_classes: int
    image_size: int


def origin_of(source: Mapping[str, np.ndarray]) -> Origin:
    """The net of an architecture known here whose sizes the weights have. Raises CheckpointError."""
    weights, _ = rename(source)
    tnt = "pixel_embed.proj.weight" in weights
    stem = weights.get("pixel_embed.proj.weight" if tnt else "patch_embed.proj.weight")
    tokens, positions = weights.get("cls_token"), weights.get("patch_pos" if tnt else "pos_embed")
    head = weights.get(HEAD[0])
    dimensions = [None if one is None else one.ndim for one in (stem, tokens, positions, head)]
    if stem is None or tokens is None or positions is None or head is None or dimensions != [4, 3, 3, 2]:
        raise CheckpointError("the weights are not those of a whole TNT or ViT", hint="add --config RECIPE")
    blocks = {name.split(".")[1] for name in weights if name.startswith("blocks.")}
    sizes = ("tnt" if tnt else "vit", tokens.shape[-1], len(blocks), stem.shape[0] if tnt else stem.shape[-1])
    for arch, config in ARCHS.items():
        if sizes == (config.family, config.dim, config.depth, config.inner_dim or config.patch_size):
            grid = round((positions.shape[1] - 1) ** 0.5)
            return Origin(arch, head.shape[0], grid * config.patch_size)
    raise CheckpointError(
        f"no known architecture has the sizes of the weights: {sizes[0]}, width {sizes[1]}, {sizes[2]} blocks",
        hint="add --config RECIPE",
    )


def order_of(source: Mapping[str, np.ndarray]) -> Literal["text", "natural"]:
    """How the framework that made the weights numbers class folders."""
    peer = peer_of(unwrapped(source))
    return peer.order if peer else "natural"


def rename(source: Mapping[str, np.ndarray]) -> tuple[Weights, list[str]]:
    """`source` in timm's names, and notes on the layout that was found. Raises CheckpointError."""
    if any(name.startswith("params/") for name in source):  # as newer Flax writes them
        source = {name.removeprefix("params/"): value for name, value in source.items()}
    if "embedding/kernel" in source or "Transformer/encoder_norm/scale" in source:
        return from_npz(source), ["read as a checkpoint of the original ViT"]
    weights = {name: np.asarray(value) for name, value in unwrapped(source).items()}
    if distilled := next((name for name in weights if DISTILLED.search(name)), ""):
        raise CheckpointError(
            f"the weights are those of a distilled DeiT: {distilled}", hint="use a DeiT without distillation"
        )
    notes = ["read as a checkpoint of the TNT authors"] if "outer_pos" in weights else []
    if peer := peer_of(weights):
        weights = from_peer(weights, peer)
        notes = [f"read as weights of {peer.title}" + (f": {peer.note}" if peer.note else "")]
    return (from_authors_tnt(weights) if "outer_pos" in weights else weights), notes


def convert(source: Mapping[str, np.ndarray], config: ModelConfig, num_classes: int) -> Converted:
    """`source` in our names and for our sizes.

    Positions are interpolated to the model's patch grid; a head of another class count is left out.
    Raises CheckpointError when the result lacks a weight, has one too many, one of another shape, or one that is not finite.
    """
    weights, notes = rename(source)
    for name in [name for name in weights if _IGNORED.match(name)]:
        del weights[name]
        notes.append(f"{name} is not used")
    _fit_positions(weights, config, notes)
    shapes = expected_shapes(config, num_classes)
    head = weights.get(HEAD[0])
    if head is not None and head.ndim == 2 and head.shape[0] != num_classes:
        notes.append(f"the head of {head.shape[0]} classes is not used, the model has {num_classes}")
        for name in HEAD:
            weights.pop(name, None)
    has_head = any(name in weights for name in HEAD)
    check_shapes(weights, {k: v for k, v in shapes.items() if has_head or k not in HEAD})
    check_kinds(weights)
    with np.errstate(over="ignore"):  # what becomes infinite is named below
        converted = {name: np.asarray(value, np.float32) for name, value in weights.items()}
    check_finite(converted)
    return Converted(converted, notes)


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


# Names of the original ViT's arrays and timm's; {n} counts the blocks. Kernels there are transposed.
_NPZ = {
    "cls": "cls_token",
    "Transformer/posembed_input/pos_embedding": "pos_embed",
    "embedding/kernel": "patch_embed.proj.weight",
    "embedding/bias": "patch_embed.proj.bias",
    "Transformer/encoder_norm/scale": "norm.weight",
    "Transformer/encoder_norm/bias": "norm.bias",
}
_NPZ_HEAD = {"head/kernel": "head.weight", "head/bias": "head.bias"}
_NPZ_BLOCK = {
    "LayerNorm_0/scale": "norm1.weight",
    "LayerNorm_0/bias": "norm1.bias",
    "MultiHeadDotProductAttention_1/out/kernel": "attn.proj.weight",
    "MultiHeadDotProductAttention_1/out/bias": "attn.proj.bias",
    "LayerNorm_2/scale": "norm2.weight",
    "LayerNorm_2/bias": "norm2.bias",
    "MlpBlock_3/Dense_0/kernel": "mlp.fc1.weight",
    "MlpBlock_3/Dense_0/bias": "mlp.fc1.bias",
    "MlpBlock_3/Dense_1/kernel": "mlp.fc2.weight",
    "MlpBlock_3/Dense_1/bias": "mlp.fc2.bias",
}
_NPZ_QKV = ("query", "key", "value")  # each with a kernel and a bias, one matrix here
_NPZ_UNUSED = ("pre_logits/",)


def from_npz(arrays: Mapping[str, np.ndarray]) -> Weights:
    """timm's names and shapes for the arrays of an original ViT checkpoint. Raises CheckpointError.

    The error names the arrays that are missing and those that are unknown.
    """
    blocks = {int(m[1]) for name in arrays if (m := re.match(r"Transformer/encoderblock_(\d+)/", name))}
    names = dict(_NPZ)
    if any(name in arrays for name in _NPZ_HEAD):
        names |= _NPZ_HEAD
    qkv = {}
    for block in range(max(blocks, default=-1) + 1):
        prefix, ours = f"Transformer/encoderblock_{block}/", f"blocks.{block}."
        names |= {prefix + theirs: ours + name for theirs, name in _NPZ_BLOCK.items()}
        for part, suffix in (("kernel", "weight"), ("bias", "bias")):
            parts = [f"{prefix}MultiHeadDotProductAttention_1/{one}/{part}" for one in _NPZ_QKV]
            qkv[f"{ours}attn.qkv.{suffix}"] = parts
    expected = {*names, *(name for parts in qkv.values() for name in parts)}
    problems = [f"{name} is missing" for name in sorted(expected - set(arrays))]
    unknown = (name for name in arrays if name not in expected and not name.startswith(_NPZ_UNUSED))
    problems += [f"{name} is unknown" for name in sorted(unknown)]
    if problems:
        raise CheckpointError(f"this is no checkpoint of the original ViT: {listing_of_problems(problems)}")
    weights = {ours: _npz_array(theirs, arrays[theirs]) for theirs, ours in names.items()}
    for ours, parts in qkv.items():
        weights[ours] = np.concatenate([_npz_array(name, arrays[name]) for name in parts])
    return weights


def _npz_array(name: str, value: np.ndarray) -> np.ndarray:
    """One array in timm's shape: (out, in) kernels without an axis for heads, (out, in, k, k) for the convolution."""
    if name == "embedding/kernel":
        return value.transpose(3, 2, 0, 1)
    if "MultiHeadDotProductAttention_1" in name and name.endswith("kernel"):
        rows = value.shape[0] * value.shape[1] if "/out/" in name else value.shape[0]
        return value.reshape(rows, -1).T
    if name.endswith("kernel"):
        return value.T
    return value.reshape(-1) if value.ndim == 2 else value


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
