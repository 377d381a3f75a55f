"""Weights of other frameworks: read from files, renamed to timm's names, resized, checked, loaded into a net."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vitmodels.archs import ModelConfig
from vitmodels.errors import CheckpointError, NotSupported

if TYPE_CHECKING:
    from mindspore import nn

Weights = dict[str, np.ndarray]
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


def read_weights(path: str | Path) -> Weights:
    """Every array of a file, or of a checkpoint folder, under the names found there. Raises CheckpointError."""
    path = Path(path)
    try:
        if path.is_dir():
            path = path / "model.safetensors"
        if path.suffix == ".safetensors":
            from safetensors.numpy import load_file

            return load_file(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        if path.suffix in (".pth", ".pt", ".bin", ".tar"):
            return _read_torch(path)
        if path.suffix == ".ckpt":
            import mindspore as ms

            return {name: value.asnumpy() for name, value in ms.load_checkpoint(str(path)).items()}
    except NotSupported:
        raise
    except Exception as error:  # each format has its own classes
        raise CheckpointError(f"can't read weights from {path}: {error}") from error
    raise CheckpointError(f"can't read weights from {path}", hint="use .safetensors, .npz, .pth or .ckpt")


def _read_torch(path: Path) -> Weights:
    try:
        import torch
    except ImportError as error:
        raise NotSupported(
            f"{path.name} is a PyTorch file, and PyTorch is not installed", hint="convert it to .safetensors"
        ) from error
    content = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model", "state_dict_ema"):
        if isinstance(content.get(key), dict):
            content = content[key]
    return {name: value.float().numpy() for name, value in content.items()}


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
    wanted = expected_shapes(config, num_classes)
    if HEAD[0] in weights and weights[HEAD[0]].shape[0] != num_classes:
        notes.append(
            f"the head of {weights[HEAD[0]].shape[0]} classes is not used, the model has {num_classes}"
        )
        for name in HEAD:
            weights.pop(name, None)
    check_shapes(weights, {k: v for k, v in wanted.items() if k in weights or k not in HEAD})
    return Converted({name: np.asarray(value, np.float32) for name, value in weights.items()}, notes)


def _fit_positions(weights: Weights, config: ModelConfig, notes: list[str]) -> None:
    name = "patch_pos" if config.family == "tnt" else "pos_embed"
    found = weights.get(name)
    if found is None or found.ndim != 3 or found.shape[1] == config.patches + 1:
        return
    old = round((found.shape[1] - 1) ** 0.5)
    if old * old == found.shape[1] - 1:
        weights[name] = resize_positions(found, config.grid)
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


def expected_shapes(config: ModelConfig, num_classes: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter, in no particular order."""
    dim, inner, ratio = config.dim, config.inner_dim, config.mlp_ratio
    tnt = config.family == "tnt"
    stem = "pixel_embed" if tnt else "patch_embed"
    kernel, width = (7, inner) if tnt else (config.patch_size, dim)
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, dim),
        "patch_pos" if tnt else "pos_embed": (1, config.patches + 1, dim),
        f"{stem}.proj.weight": (width, 3, kernel, kernel),
        f"{stem}.proj.bias": (width,),
        **_linear("head", dim, num_classes),
        **_norm("norm", dim),
    }
    flat = inner * config.pixels if tnt else 0
    if tnt:
        shapes["pixel_pos"] = (1, inner, config.pixel_grid, config.pixel_grid)
        shapes |= _norm("norm1_proj", flat) | _linear("proj", flat, dim) | _norm("norm2_proj", dim)
    for index in range(config.depth):
        block = f"blocks.{index}."
        if tnt:
            shapes |= _block(block, ("norm_in", "attn_in", "norm_mlp_in", "mlp_in"), inner, 4, config, False)
            shapes |= _norm(f"{block}norm1_proj", flat) | _norm(f"{block}norm2_proj", dim)
            shapes |= _linear(f"{block}proj", flat, dim, bias=False)
            shapes |= _block(block, ("norm_out", "attn_out", "norm_mlp", "mlp"), dim, ratio, config, False)
        else:
            shapes |= _block(block, ("norm1", "attn", "norm2", "mlp"), dim, ratio, config, True)
    return shapes


def _block(
    prefix: str, names: tuple[str, str, str, str], dim: int, ratio: int, config: ModelConfig, fused: bool
) -> dict[str, tuple[int, ...]]:
    norm1, attn, norm2, mlp = (prefix + name for name in names)
    bias = config.qkv_bias
    if fused:
        shapes = _linear(f"{attn}.qkv", dim, 3 * dim, bias)
    else:
        shapes = _linear(f"{attn}.qk", dim, 2 * dim, bias) | _linear(f"{attn}.v", dim, dim, bias)
    shapes |= _linear(f"{attn}.proj", dim, dim) | _norm(norm1, dim) | _norm(norm2, dim)
    return shapes | _linear(f"{mlp}.fc1", dim, ratio * dim) | _linear(f"{mlp}.fc2", ratio * dim, dim)


def _linear(name: str, into: int, out: int, bias: bool = True) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": (out, into)}
    return shapes | {f"{name}.bias": (out,)} if bias else shapes


def _norm(name: str, dim: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}


def check_shapes(weights: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Raises CheckpointError that names what is missing, too many, or of another shape."""
    problems = [f"{name} is missing" for name in wanted if name not in weights]
    problems += [f"{name} is unknown" for name in weights if name not in wanted]
    problems += [
        f"{name} is {tuple(value.shape)}, expected {wanted[name]}"
        for name, value in weights.items()
        if name in wanted and tuple(value.shape) != wanted[name]
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError(f"the weights don't fit the model: {'; '.join(problems[:5])}{more}")


def load_weights(model: nn.Cell, weights: Mapping[str, np.ndarray]) -> None:
    """Set every parameter of a ViT or TNT from our names. Raises CheckpointError when they don't match exactly."""
    from mindspore import Tensor

    parameters = dict(model.parameters_and_names())
    check_shapes(weights, {name: tuple(value.shape) for name, value in parameters.items()})
    for name, parameter in parameters.items():
        parameter.set_data(Tensor(np.asarray(weights[name], np.float32)))


def load_pretrained(model: nn.Cell, path: str | Path) -> list[str]:
    """Start a model from a file of any layout known here; returns notes on what was changed."""
    from mindspore import Tensor

    parameters = dict(model.parameters_and_names())
    found = convert(read_weights(path), model.config, int(parameters["head.bias"].shape[0]))
    for name, value in found.weights.items():
        parameters[name].set_data(Tensor(value))
    return found.notes


def model_weights(model: nn.Cell) -> Weights:
    """A copy of every parameter under timm's names."""
    return {name: value.asnumpy().copy() for name, value in model.parameters_and_names()}


def write_weights(weights: Mapping[str, np.ndarray], path: str | Path) -> None:
    """A safetensors file that timm loads; complete or absent."""
    from safetensors.numpy import save

    path = Path(path)
    temp = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with temp.open("wb") as file:
        file.write(save({name: np.ascontiguousarray(value) for name, value in weights.items()}))
        file.flush()
        os.fsync(file.fileno())
    temp.replace(path)
