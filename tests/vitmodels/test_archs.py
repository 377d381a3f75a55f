import subprocess
import sys

import pytest

from vitmodels.archs import ALIASES, ARCHS, parameter_count, resolve_arch
from vitmodels.errors import RecipeError, UnknownArch

# Counted from timm 1.0.31's models with 1000 classes.
TIMM_COUNTS = {
    "tnt_s_patch16_224": 23768584,
    "tnt_b_patch16_224": 65428680,
    "vit_tiny_patch16_224": 5717416,
    "vit_small_patch16_224": 22050664,
    "vit_small_patch32_224": 22878952,
    "vit_base_patch16_224": 86567656,
    "vit_base_patch32_224": 88224232,
    "vit_large_patch14_224": 304203752,
    "vit_large_patch16_224": 304326632,
    "vit_large_patch32_224": 305510400 + 1025000,  # timm's has no head
    "vit_huge_patch14_224": 630764800 + 1281000,
}


def test_parameter_counts_are_those_of_timm() -> None:
    assert {name: parameter_count(ARCHS[name], 1000) for name in TIMM_COUNTS} == TIMM_COUNTS
    assert set(ARCHS) - set(TIMM_COUNTS) == {"tnt_digits", "vit_digits"}


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("tnt_s_patch16_224", "tnt_s_patch16_224"),
        ("TNT-S", "tnt_s_patch16_224"),
        ("tnt_b", "tnt_b_patch16_224"),
        ("ViT-B_16", "vit_base_patch16_224"),
        ("ViT-B/32", "vit_base_patch32_224"),
        ("vit_base", "vit_base_patch16_224"),
        ("vit_l_16", "vit_large_patch16_224"),
        ("vit_large", "vit_large_patch16_224"),
        ("ViT-H/14", "vit_huge_patch14_224"),
        ("vit_tiny", "vit_tiny_patch16_224"),
        ("vit_small_patch32", "vit_small_patch32_224"),
    ],
)
def test_spellings(spelling: str, name: str) -> None:
    assert resolve_arch(spelling) == name


def test_no_alias_hides_an_architecture() -> None:
    assert not set(ALIASES) & set(ARCHS)


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownArch, match="did you mean vit_base_patch16_224") as caught:
        resolve_arch("vit_bse_patch16_224")
    assert isinstance(caught.value, ValueError)
    with pytest.raises(UnknownArch, match="tnt_s_patch16_224"):
        resolve_arch("resnet50")


def test_image_size_must_hold_whole_patches() -> None:
    assert ARCHS["vit_base_patch16_224"].resized(384).patches == 576
    assert ARCHS["tnt_digits"].resized(None) is ARCHS["tnt_digits"]
    with pytest.raises(RecipeError, match="use 224 or 240"):
        ARCHS["vit_base_patch16_224"].resized(225)
    with pytest.raises(RecipeError, match="use 16 or 32"):
        ARCHS["vit_base_patch16_224"].resized(8)


def test_needs_no_mindspore() -> None:
    code = "import sys, vitmodels.archs; sys.exit('mindspore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
