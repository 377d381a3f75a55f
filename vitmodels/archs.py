"""The architectures by name, as plain numbers.

Sizes are those of the papers (ViT: https://arxiv.org/abs/2010.11929, TNT: https://arxiv.org/abs/2103.00112)
under timm's names; the `*_digits` nets are our own small ones for 32x32 images. Nothing here imports MindSpore,
so that a job file can be checked on any machine.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace

from vitmodels.errors import RecipeError, UnknownArch


@dataclass(frozen=True)
class ModelConfig:
    """The numbers that make one architecture; `inner_*` and `pixel_stride` mean something for TNT only."""

    family: str  # "vit" or "tnt"
    image_size: int  # pixels, images are square
    patch_size: int  # pixels
    dim: int  # width of a patch token
    depth: int  # number of blocks
    heads: int  # attention heads over patches
    mlp_ratio: int = 4  # hidden width of an MLP over its input width
    qkv_bias: bool = True
    norm_eps: float = 1e-6
    inner_dim: int = 0  # width of a pixel token
    inner_heads: int = 0  # attention heads over the pixels of one patch
    pixel_stride: int = 0  # pixels of the image per pixel token, along one side
    init_std: float = 0.02  # deviation of dense weights at the start
    pos_std: float = 0.02  # deviation of the positions of patches at the start

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size

    @property
    def patches(self) -> int:
        return self.grid * self.grid

    @property
    def pixel_grid(self) -> int:
        """Pixel tokens along one side of a patch."""
        return -(-self.patch_size // self.pixel_stride)

    @property
    def pixels(self) -> int:
        """Pixel tokens of one patch."""
        return self.pixel_grid * self.pixel_grid

    def resized(self, image_size: int | None) -> ModelConfig:
        """The same architecture for another image size. Raises RecipeError when the patches don't fit."""
        if image_size is None or image_size == self.image_size:
            return self
        if image_size < self.patch_size or image_size % self.patch_size:
            below = max(1, image_size // self.patch_size) * self.patch_size
            raise RecipeError(
                f"image_size {image_size} is not a multiple of the patch size {self.patch_size}",
                hint=f"use {below} or {below + self.patch_size}",
            )
        return replace(self, image_size=image_size)


def _vit(patch_size: int, dim: int, depth: int, heads: int) -> ModelConfig:
    return ModelConfig("vit", 224, patch_size, dim, depth, heads)


def _tnt(dim: int, heads: int, inner_dim: int) -> ModelConfig:
    return ModelConfig(
        "tnt",
        image_size=224,
        patch_size=16,
        dim=dim,
        depth=12,
        heads=heads,
        qkv_bias=False,
        norm_eps=1e-5,
        inner_dim=inner_dim,
        inner_heads=4,
        pixel_stride=4,
    )


# A deviation of 0.02 suits widths of hundreds and runs of hundreds of epochs. In a net this narrow, attention
# would begin as an average of all patches, and TNT's patch tokens, normalised to deviation 1, would drown
# their positions: a bag of patches, until the rates have lifted the positions after a dozen epochs.
_TNT_DIGITS = replace(
    _tnt(96, 3, 16),
    image_size=32,
    patch_size=8,
    depth=2,
    inner_heads=2,
    init_std=0.05,
    pos_std=0.5,
)
_VIT_DIGITS = replace(_vit(8, 96, 3, 3), image_size=32, init_std=0.05)


ARCHS: dict[str, ModelConfig] = {
    "tnt_s_patch16_224": _tnt(384, 6, 24),
    "tnt_b_patch16_224": _tnt(640, 10, 40),
    "vit_tiny_patch16_224": _vit(16, 192, 12, 3),
    "vit_small_patch16_224": _vit(16, 384, 12, 6),
    "vit_small_patch32_224": _vit(32, 384, 12, 6),
    "vit_base_patch16_224": _vit(16, 768, 12, 12),
    "vit_base_patch32_224": _vit(32, 768, 12, 12),
    "vit_large_patch14_224": _vit(14, 1024, 24, 16),
    "vit_large_patch16_224": _vit(16, 1024, 24, 16),
    "vit_large_patch32_224": _vit(32, 1024, 24, 16),
    "vit_huge_patch14_224": _vit(14, 1280, 32, 16),
    "tnt_digits": _TNT_DIGITS,
    "vit_digits": _VIT_DIGITS,
}

_SIZES = {"ti": "tiny", "t": "tiny", "s": "small", "b": "base", "l": "large", "h": "huge"}


def _spellings(name: str) -> list[str]:
    """Other usual names of one architecture, in canonical form (see `_canonical`)."""
    parts = name.split("_")  # family, size, patchNN, 224
    if len(parts) != 4:
        return []
    family, size, patch = parts[0], parts[1], parts[2].removeprefix("patch")
    spelled = [f"{family}_{size}_patch{patch}", f"{family}_{size}_{patch}"]
    spelled += [f"{family}_{short}_{patch}" for short, long in _SIZES.items() if long == size]
    first = next(known for known in ARCHS if known.startswith(f"{family}_{size}_"))
    if name == first or (size == "large" and patch == "16"):
        spelled.append(f"{family}_{size}")
    return [*spelled, *(f"{spelling}_224" for spelling in spelled)]


def _canonical(name: str) -> str:
    """Lower case with `_` between the words: `ViT-B/16` becomes `vit_b_16`."""
    return name.strip().lower().replace("-", "_").replace("/", "_").replace(".", "_")


ALIASES: dict[str, str] = {}
for _name in ARCHS:
    ALIASES.update({spelling: _name for spelling in _spellings(_name) if spelling not in ARCHS})


def resolve_arch(name: str) -> str:
    """The one name of an architecture under all its spellings. Raises UnknownArch with the nearest names."""
    canonical = _canonical(name)
    if canonical in ARCHS:
        return canonical
    if canonical in ALIASES:
        return ALIASES[canonical]
    near = difflib.get_close_matches(canonical, [*ARCHS, *ALIASES], n=3, cutoff=0.6)
    nearest = dict.fromkeys(ALIASES.get(one, one) for one in near)
    raise UnknownArch(name, nearest=tuple(nearest), known=tuple(ARCHS))


def parameter_count(config: ModelConfig, num_classes: int) -> int:
    """Trainable numbers of a model, by arithmetic."""
    dim = config.dim
    head = dim * num_classes + num_classes
    tokens = dim + (config.patches + 1) * dim  # class token and positions
    block = _attention_count(dim, config.qkv_bias) + _mlp_count(dim, config.mlp_ratio) + 2 * 2 * dim
    if config.family == "vit":
        stem = dim * 3 * config.patch_size**2 + dim
        return stem + tokens + config.depth * block + 2 * dim + head
    inner, flat = config.inner_dim, config.inner_dim * config.pixels
    stem = inner * 3 * 7 * 7 + inner + flat  # convolution and pixel positions
    stem += 2 * flat + flat * dim + dim + 2 * dim  # the first projection from pixels to a patch
    block += _attention_count(inner, config.qkv_bias) + _mlp_count(inner, 4) + 2 * 2 * inner
    block += 2 * flat + flat * dim + 2 * dim
    return stem + tokens + config.depth * block + 2 * dim + head


def _attention_count(dim: int, qkv_bias: bool) -> int:
    return 4 * dim * dim + dim + (3 * dim if qkv_bias else 0)


def _mlp_count(dim: int, ratio: int) -> int:
    return 2 * ratio * dim * dim + ratio * dim + dim
