"""The share of the learning rate of each parameter."""

import pytest

from vitmodels.errors import RecipeError
from vitmodels.recipe_file import make_recipe
from vitmodels.training.layerrates import rate_share


def share(name: str, **changes: object) -> float:
    return rate_share(name, make_recipe({"arch": "vit_digits", "pretrained": "w.npz", **changes}))


def test_rates_fall_from_the_head_to_the_stem() -> None:
    names = [
        "head.weight",
        "norm.bias",
        "blocks.2.norm1.bias",
        "blocks.1.attn.qkv.weight",
        "blocks.0.norm1.weight",
    ]
    names += ["pos_embed", "cls_token", "patch_embed.proj.weight"]
    found = [share(name, layer_decay=0.5) for name in names]
    assert found == [1.0, 1.0, 0.5, 0.25, 0.125, 0.0625, 0.0625, 0.0625]
    assert {share(name) for name in names} == {1.0}


def test_the_stem_of_tnt_is_all_before_its_blocks() -> None:
    names = [
        "pixel_embed.proj.bias",
        "pixel_pos",
        "norm1_proj.weight",
        "proj.weight",
        "norm2_proj.bias",
        "patch_pos",
    ]
    assert {share(name, arch="tnt_digits", layer_decay=0.5) for name in names} == {0.125}
    assert share("blocks.1.norm1_proj.weight", arch="tnt_digits", layer_decay=0.5) == 0.5


def test_a_frozen_patch_embedding_has_no_rate() -> None:
    assert share("patch_embed.proj.weight", freeze_patch_embed=True) == 0
    assert share("pixel_embed.proj.bias", arch="tnt_digits", freeze_patch_embed=True) == 0
    assert share("cls_token", freeze_patch_embed=True) == 1


def test_random_weights_are_not_frozen() -> None:
    with pytest.raises(
        RecipeError, match="freeze_patch_embed would keep random weights: it needs pretrained"
    ):
        make_recipe({"arch": "vit_digits", "freeze_patch_embed": True})
