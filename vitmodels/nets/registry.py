"""From the name of an architecture to a net."""

from __future__ import annotations

from mindspore import nn

from vitmodels.archs import ARCHS, resolve_arch
from vitmodels.nets.initialise import initialise
from vitmodels.nets.layers.choice import Operators, best_operators
from vitmodels.nets.precision import level_here, set_precision
from vitmodels.nets.tnt import TNT
from vitmodels.nets.vit import ViT


def create_model(
    arch: str,
    *,
    num_classes: int,
    image_size: int | None = None,
    drop: float = 0.0,
    drop_path: float = 0.0,
    attn_drop: float = 0.0,
    seed: int = 0,
    amp_level: str = "O0",
    operators: Operators | None = None,
) -> nn.Cell:
    """A net with fresh weights, for the device that is set now.

    `model(images)` infers; `model(images, masks)` trains, where masks are uniform numbers from [0, 1) of
    shape `model.mask_shape(batch)`; when that is None (no drop_path, no dropout), train without masks.
    Images are float32 (B, 3, H, W), normalised. `operators` are the best ones of the device and the precision; a
    net that is exported needs "mindspore". Raises UnknownArch, and RecipeError for a wrong image size.
    """
    config = ARCHS[resolve_arch(arch)].resized(image_size)
    amp_level = level_here(amp_level)
    model = (TNT if config.family == "tnt" else ViT)(
        config,
        num_classes,
        operators=operators or best_operators(amp_level),
        drop=drop,
        attn_drop=attn_drop,
        drop_path=drop_path,
    )
    initialise(model, seed)
    set_precision(model, amp_level)
    return model
