"""Layer-wise rates of a fine-tuning: the share of the learning rate that each parameter gets.

As in BEiT and MAE: the head and the last normalisation have the whole rate, each block `layer_decay` times that of the block
after it, and the stem (patches, class token, positions) that of a block before the first.
"""

from __future__ import annotations

from vitmodels.archs import ARCHS
from vitmodels.config import Recipe

_WHOLE_RATE = ("norm.", "head.")
PATCH_EMBEDDINGS = ("patch_embed.", "pixel_embed.")
"""How the parameters begin that `freeze_patch_embed` keeps."""


def rate_share(name: str, recipe: Recipe) -> float:
    """The share of the learning rate for the parameter of that name: 0 when it is frozen."""
    if recipe.freeze_patch_embed and name.startswith(PATCH_EMBEDDINGS):
        return 0.0
    depth = ARCHS[recipe.arch].depth
    if name.startswith("blocks."):
        return recipe.layer_decay ** (depth - int(name.split(".")[1]))
    return 1.0 if name.startswith(_WHOLE_RATE) else recipe.layer_decay ** (depth + 1)
