"""Name and shape of every parameter of a net, without building it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest

import numpy as np

from vitmodels.archs import ModelConfig
from vitmodels.errors import CheckpointError

SHOWN = 8
FLOATS = "save the net in float32, float16 or bfloat16; a quantised one can't be used"


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


def check_shapes(weights: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises CheckpointError that names what is missing, too many, or of another shape."""
    problems = [f"{name} is missing" for name in shapes if name not in weights]
    problems += [f"{name} is unknown" for name in weights if name not in shapes]
    problems += [
        f"{name} is {tuple(value.shape)}, expected {shapes[name]}"
        for name, value in weights.items()
        if name in shapes and tuple(value.shape) != shapes[name]
    ]
    if problems:
        raise CheckpointError(
            f"the weights don't fit the model: {listing_of_problems(problems)}{_side_by_side(weights, shapes)}"
        )


def _side_by_side(weights: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The names that only the file has beside those that only the model has; empty unless both have some."""
    theirs = [f"{name} {tuple(value.shape)}" for name, value in weights.items() if name not in shapes]
    ours = [f"{name} {shape}" for name, shape in sorted(shapes.items()) if name not in weights]
    if not theirs or not ours:
        return ""
    rows = [("only in the file", "only in the model")]
    rows += [*zip_longest(sorted(theirs)[:SHOWN], ours[:SHOWN], fillvalue="")]
    if max(len(theirs), len(ours)) > SHOWN:
        rows.append((f"{len(theirs)} in all", f"{len(ours)} in all"))
    width = max(len(left) for left, _ in rows)
    return "".join(f"\n  {left:{width}}  | {right}".rstrip() for left, right in rows)


def check_kinds(weights: Mapping[str, np.ndarray]) -> None:
    """Raises CheckpointError that names the parameters whose values are no floating-point numbers."""
    problems = [
        f"{name} holds values of type {value.dtype}"
        for name, value in weights.items()
        if value.dtype.kind != "f" and value.dtype.name != "bfloat16"
    ]
    if problems:
        raise CheckpointError(f"the weights are no weights: {listing_of_problems(problems)}", hint=FLOATS)


def check_finite(weights: Mapping[str, np.ndarray]) -> None:
    """Raises CheckpointError that names the parameters with a NaN or an infinity."""
    problems = []
    for name, value in weights.items():
        if count := value.size - int(np.count_nonzero(np.isfinite(value))):
            problems.append(f"{name} holds {count} of {value.size} values that are NaN or infinite")
    if problems:
        raise CheckpointError(
            f"the weights are damaged: {listing_of_problems(problems)}",
            hint="use an earlier checkpoint of that training, or get the file again",
        )


def listing_of_problems(problems: list[str]) -> str:
    """The first five, and how many there are beyond."""
    more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
    return "; ".join(problems[:5]) + more
