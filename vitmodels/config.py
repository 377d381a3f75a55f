"""The recipe: every hyper-parameter of a training run, under the names of the TNT README.

`Recipe` is the one place that names, explains, defaults and limits them; the programs, the launcher and
the documentation read it. Keys of the vit_base README are translated by `normalise_keys`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from vitmodels.errors import RecipeError, UnknownArch
from vitmodels.yamlfile import parse_yaml, read_mapping


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("expected a number, not true or false")
    return value


Int = Annotated[int, BeforeValidator(_no_bool)]
Float = Annotated[float, BeforeValidator(_no_bool)]
Share = Annotated[float, BeforeValidator(_no_bool), Field(ge=0, le=1)]
Rate = Annotated[float, BeforeValidator(_no_bool), Field(ge=0, lt=1)]


class Recipe(BaseModel):
    """What is trained, on what, and how. Frozen; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    # model
    arch: str = Field("tnt_s_patch16_224", description="architecture, e.g. tnt_s_patch16_224 or ViT-B_16")
    num_classes: Int = Field(1000, ge=2, description="number of classes")
    image_size: Int | None = Field(
        None,
        ge=8,
        le=2048,
        description="side of the input image in pixels; the architecture's own when absent",
    )
    nonlinearity: Literal["GELU"] = Field("GELU", description="activation function")
    drop_rate: Rate = Field(
        0.0, description="dropout after the position embedding, the projections and the MLPs"
    )
    attn_drop: Rate = Field(0.0, description="dropout on the attention weights")
    drop_path: Rate = Field(0.0, description="stochastic depth of the last block; grows linearly from 0")
    pretrained: str = Field("", description="checkpoint (ours, .safetensors, .npz) to start from")

    # data
    data_url: str = Field("", description="data folder, used when --data is not given")
    val_data_url: str = Field("", description="validation folder, when it is not <data>/val")
    set: str = Field("ImageNet", description="name of the data set, for records only")
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos", "random"] = Field(
        "bicubic", description="filter of every resize; random: bilinear or bicubic per training image"
    )
    crop_pct: Annotated[float, BeforeValidator(_no_bool)] = Field(
        0.875, gt=0, le=1, description="share of the resized image that evaluation keeps (0.875: 256 to 224)"
    )
    train_crop: Literal["random_resized", "shift", "resize"] = Field(
        "random_resized",
        description="training geometry: random resized crop, resize and shift, or resize only",
    )
    rrc_scale: tuple[Float, Float] = Field((0.08, 1.0), description="range of the crop's share of the area")
    rrc_ratio: tuple[Float, Float] = Field((0.75, 4 / 3), description="range of the crop's width / height")
    shift: Int = Field(2, ge=0, le=64, description="largest shift in pixels of train_crop shift")
    hflip: Share = Field(0.5, description="probability of a horizontal flip")
    vflip: Share = Field(0.0, description="probability of a vertical flip")
    color_jitter: Float = Field(
        0.0,
        ge=0,
        le=1,
        description="strength of brightness, contrast and saturation jitter; not with auto_augment",
    )
    auto_augment: str = Field("", description="RandAugment string such as rand-m9-mstd0.5-inc1; empty: none")
    re_prob: Share = Field(0.0, description="probability of random erasing")
    re_mode: Literal["const", "rand", "pixel"] = Field(
        "pixel", description="what erasing fills in: mean, one colour, noise"
    )
    re_count: Int = Field(1, ge=1, le=16, description="largest number of erased boxes per image")
    mean: tuple[Float, Float, Float] = Field(
        (0.485, 0.456, 0.406), description="mean of each channel, of 0..1"
    )
    std: tuple[Float, Float, Float] = Field(
        (0.229, 0.224, 0.225), description="deviation of each channel, of 0..1"
    )
    num_parallel_workers: Int = Field(
        8, ge=1, le=256, description="decoding workers per rank, limited to the cores it may use"
    )
    max_corrupt: Int = Field(
        100, ge=0, description="unreadable images that are skipped before training gives up"
    )

    # mixing
    mix_up: Float = Field(0.0, ge=0, description="alpha of mixup; 0: off")
    cutmix: Float = Field(0.0, ge=0, description="alpha of cutmix; 0: off")
    mixup_prob: Share = Field(1.0, description="probability that a batch (or pair, or image) is mixed")
    switch_prob: Share = Field(0.5, description="probability of cutmix when both are on")
    mixup_mode: Literal["batch", "pair", "elem"] = Field(
        "batch", description="one draw per batch, per pair, or per image"
    )
    label_smoothing: Rate = Field(0.0, description="share of the target spread over all classes")

    # optimiser and schedule
    optimizer: Literal["adamw", "adam_weight_decay", "momentum"] = Field(
        "adamw",
        description="adamw: bias-corrected; adam_weight_decay: MindSpore's form without the correction; momentum",
    )
    base_lr: Float = Field(
        0.0005, gt=0, description="peak learning rate, per lr_scale_batch images unless lr_scale is none"
    )
    lr_scale: Literal["linear", "none"] = Field(
        "linear", description="linear: base_lr x global batch / lr_scale_batch"
    )
    lr_scale_batch: Int = Field(512, ge=1, description="global batch for which base_lr is meant")
    warmup_lr: Float = Field(7e-8, ge=0, description="learning rate of the first step of the warm-up")
    min_lr: Float = Field(0.0, ge=0, description="learning rate at the end of the cosine")
    warmup_length: Float = Field(0.0, ge=0, description="warm-up in epochs")
    lr_scheduler: Literal["cosine_lr", "multistep_lr", "exp_lr", "constant_lr"] = Field(
        "cosine_lr", description="decay after the warm-up, computed per step"
    )
    lr_epochs: tuple[Float, ...] = Field(
        (), description="multistep_lr: epochs at which the rate is multiplied by lr_gamma"
    )
    lr_gamma: Float = Field(
        0.1, gt=0, le=1, description="multistep_lr: factor per milestone; exp_lr: factor per epoch"
    )
    beta: tuple[Rate, Rate] = Field((0.9, 0.999), description="moment decay rates of the Adam forms")
    epsilon: Float = Field(1e-8, gt=0, description="denominator term of the Adam forms")
    momentum: Rate = Field(0.9, description="momentum of the momentum optimiser")
    weight_decay: Float = Field(
        0.05, ge=0, description="decay of weights; biases, norms, tokens and positions are exempt"
    )
    clip_global_norm_value: Float = Field(
        0.0, ge=0, description="largest global gradient norm; 0: no clipping"
    )

    # training
    epochs: Int = Field(300, ge=1, description="epoch up to which training goes")
    batch_size: Int = Field(128, ge=1, description="images per rank and step")
    accumulate: Int = Field(1, ge=1, description="steps whose gradients are averaged before one update")
    amp_level: Literal["O0", "O1", "O2", "O3", "auto"] = Field(
        "O0", description="mixed precision level of MindSpore"
    )
    is_dynamic_loss_scale: bool = Field(
        True, description="halve and double the loss scale as overflows come and go"
    )
    loss_scale: Float = Field(
        65536.0, ge=1, description="loss scale (the first one when dynamic); 1 at amp_level O0"
    )
    loss_scale_window: Int = Field(2000, ge=1, description="steps without overflow before the scale doubles")
    ema: Rate = Field(
        0.0, description="decay of the averaged weights that are evaluated and exported; 0: off"
    )
    seed: Int = Field(0, ge=0, lt=2**32, description="seed of everything random")
    save_every: Int = Field(1, ge=1, description="epochs between checkpoints")
    save_every_steps: Int = Field(0, ge=0, description="steps between further checkpoints; 0: none")
    keep_checkpoint_max: Int = Field(5, ge=1, description="checkpoints kept, the best one besides")
    eval_every: Int = Field(
        1, ge=1, description="epochs between evaluations; the last epoch is always evaluated"
    )
    eval_batch_size: Int = Field(0, ge=0, description="images per evaluation step; 0: batch_size")
    cpu_threads: Int = Field(
        0, ge=0, le=256, description="threads of one operator on CPU; 0: as many as the process has cores"
    )
    device_target: Literal["Ascend", "CPU"] | None = Field(
        None, description="device when --device is not given"
    )

    @field_validator("arch")
    @classmethod
    def _known_arch(cls, name: str) -> str:
        from vitmodels.archs import resolve_arch

        try:
            return resolve_arch(name)
        except UnknownArch as error:
            raise ValueError(f"{error.what}, {error.hint}") from error

    @field_validator("auto_augment")
    @classmethod
    def _valid_policy(cls, text: str) -> str:
        from vitmodels.policy import parse_policy

        if text.lower() in ("", "none", "null"):
            return ""
        parse_policy(text)
        return text

    @field_validator("rrc_scale", "rrc_ratio")
    @classmethod
    def _ordered(cls, pair: tuple[float, float]) -> tuple[float, float]:
        if not 0 < pair[0] <= pair[1]:
            raise ValueError("expected two positive numbers in rising order")
        return pair

    @field_validator("std")
    @classmethod
    def _positive(cls, values: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(values) <= 0:
            raise ValueError("every deviation must be greater than 0")
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        self._check_image_size()
        if self.lr_scheduler == "multistep_lr" and not self.lr_epochs:
            raise ValueError("lr_scheduler multistep_lr needs lr_epochs")
        if list(self.lr_epochs) != sorted(self.lr_epochs):
            raise ValueError("lr_epochs must rise")
        if self.mixes and self.batch_size % 2:
            raise ValueError(f"mix_up and cutmix mix pairs, so batch_size {self.batch_size} must be even")
        if self.color_jitter and self.auto_augment:
            raise ValueError("color_jitter and auto_augment exclude each other")
        return self

    def _check_image_size(self) -> None:
        from vitmodels.archs import ARCHS

        try:
            ARCHS[self.arch].resized(self.image_size)
        except RecipeError as error:
            raise ValueError(f"{error.what}, {error.hint}") from error

    @property
    def side(self) -> int:
        """Side of the input image in pixels."""
        from vitmodels.archs import ARCHS

        return self.image_size or ARCHS[self.arch].image_size

    @property
    def mixes(self) -> bool:
        """Whether mixup or cutmix is on."""
        return self.mixup_prob > 0 and (self.mix_up > 0 or self.cutmix > 0)

    def json_dict(self) -> dict[str, Any]:
        """Plain JSON values; `Recipe(**recipe.json_dict()) == recipe`."""
        return self.model_dump(mode="json")


# The keys of the vit_base README and what they are called here.
ALIASES: dict[str, str] = {
    "name": "set",
    "lr_init": "base_lr",
    "epoch_size": "epochs",
    "data_path": "data_url",
    "val_data_path": "val_data_url",
    "image_height": "image_size",
    "image_width": "image_size",
}
# Keys of the vit_base README that are not one field of ours; handled one by one in normalise_keys.
_SPECIAL = frozenset({"pre_trained", "checkpoint_path", "device_id"})
# What that README leaves unsaid and its code does: plain momentum SGD at the stated rate.
_VIT_BASE_DEFAULTS: dict[str, Any] = {
    "arch": "vit_base_patch16_224",
    "optimizer": "momentum",
    "lr_scale": "none",
}


def known_keys() -> list[str]:
    """Every key that a recipe file may hold: our names and the accepted aliases."""
    return sorted({*Recipe.model_fields, *ALIASES, *_SPECIAL})


def nearest_key(key: str) -> str:
    """The valid key that looks most like `key`, or an empty string."""
    found = difflib.get_close_matches(key.lower(), known_keys(), n=1, cutoff=0.6)
    return found[0] if found else ""


def normalise_keys(mapping: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A recipe in our names, and notes on what was translated or left out.

    Unknown keys pass through (validation reports them). Raises RecipeError when an alias and the name
    it stands for are both given with different values.
    """
    result: dict[str, Any] = {}
    origin: dict[str, str] = {}
    notes: list[str] = []
    for key, value in mapping.items():
        if key in _SPECIAL:
            continue
        ours = ALIASES.get(key, key)
        if ours in result and result[ours] != value:
            raise RecipeError(
                f"{origin[ours]} is {result[ours]!r} and {key} is {value!r}, but both mean {ours}"
            )
        result[ours], origin[ours] = value, key
        if key not in (ours, "name"):
            notes.append(f"{key} is read as {ours}")
    notes += _take_special(mapping, result)
    if "lr_init" in mapping or "epoch_size" in mapping:
        for key, value in _VIT_BASE_DEFAULTS.items():
            if key not in result:
                result[key] = value
                notes.append(f"{key} is {value}, as in the vit_base README")
    return result, notes


def _take_special(mapping: Mapping[str, Any], result: dict[str, Any]) -> list[str]:
    """Fold pre_trained, checkpoint_path and device_id into `result`; say what happened to each."""
    notes: list[str] = []
    path = mapping.get("checkpoint_path")
    wanted = str(mapping.get("pre_trained", False)).strip().lower()
    if "pre_trained" in mapping and wanted not in ("true", "false"):
        raise RecipeError(f"pre_trained is {mapping['pre_trained']!r}, expected True or False")
    if wanted == "true":
        if not path:
            raise RecipeError("pre_trained is True, but checkpoint_path names no checkpoint")
        if result.get("pretrained", path) != path:
            raise RecipeError(f"pretrained is {result['pretrained']!r} and checkpoint_path is {path!r}")
        result["pretrained"] = path
        notes.append("pre_trained and checkpoint_path are read as pretrained")
    elif path:
        notes.append("checkpoint_path is not used, because pre_trained is not True")
    if "device_id" in mapping:
        notes.append("device_id is not used: the launcher or DEVICE_ID chooses the device")
    return notes


def make_recipe(mapping: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """Validate a mapping in our names. Raises RecipeError that lists every problem in one message."""
    try:
        return Recipe.model_validate(dict(mapping))
    except ValidationError as error:
        raise RecipeError("\n".join(f"{where}: {line}" for line in describe_problems(error))) from error


def describe_problems(error: ValidationError) -> list[str]:
    """One short line for each problem, with the nearest valid key for an unknown one."""
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            near = nearest_key(key)
            lines.append(f"unknown key {key}" + (f", did you mean {near}?" if near else ""))
            continue
        text = problem["msg"].removeprefix("Value error, ")
        got = "" if problem["type"] == "value_error" else f", got {problem['input']!r}"
        lines.append(f"{key}: {text}{got}" if key else text)
    return lines


def parse_override(text: str) -> tuple[str, Any]:
    """`KEY=VALUE` with the value read as YAML. Raises RecipeError."""
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise RecipeError(f"expected KEY=VALUE, got {text!r}")
    return key.strip(), parse_yaml(value, f"--set {key.strip()}")


def load_recipe(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a YAML or JSON recipe, apply overrides (either naming), validate. Raises RecipeError."""
    base, _ = normalise_keys(read_mapping(Path(path)))
    extra, _ = normalise_keys(dict(overrides or {}))
    for key in _VIT_BASE_DEFAULTS:  # an override of lr_init alone must not bring the README's other defaults
        if key in extra and key not in (overrides or {}):
            del extra[key]
    return make_recipe({**base, **extra}, str(path))


def steps_per_epoch(images: int, batch: int, ranks: int) -> int:
    """Whole global batches in one epoch; every rank makes the same number of steps."""
    return images // (batch * ranks)


def scaled_lr(recipe: Recipe, world_size: int) -> float:
    """The peak learning rate at `world_size` ranks."""
    if recipe.lr_scale == "none":
        return recipe.base_lr
    return recipe.base_lr * recipe.batch_size * recipe.accumulate * world_size / recipe.lr_scale_batch
