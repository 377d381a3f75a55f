"""The recipe: every hyper-parameter of a training run, under the names of the TNT README.

`Recipe` is the one place that names, explains, defaults and limits them; the programs, the launcher and
the documentation read it. `recipe_file` reads one, `recipe_keys` translates the keys of the vit_base README.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vitmodels.archs import ARCHS, resolve_arch
from vitmodels.errors import RecipeError, UnknownArch
from vitmodels.policy import parse_policy
from vitmodels.validation.rule import RuleError

Int = Annotated[int, Field(strict=True)]  # true is no number
Float = Annotated[float, Field(strict=True)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Rate = Annotated[float, Field(strict=True, ge=0, lt=1)]


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
    pretrained: str = Field(
        "",
        description="weights to start from: a run or checkpoint folder, or a .safetensors, .ckpt, .npz or .pth file; averaged "
        "weights where there are some; another head or image size is adapted",
    )

    # data
    data_url: str = Field("", description="data folder, used when --data is not given")
    val_data_url: str = Field("", description="validation folder, when it is not <data>/val")
    set: str = Field("ImageNet", description="name of the data set, for records only")
    class_order: Literal["text", "natural"] | None = Field(
        None,
        description="order in which class folders are numbered when no weights tell: text, as in torchvision, or natural (c2 before "
        "c10), as in timm; default: text in training, and what belongs to the weights in evaluation",
    )
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos", "random"] = Field(
        "bicubic", description="filter of every resize; random: bilinear or bicubic per training image"
    )
    crop_pct: Float = Field(
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
        "batch",
        description="one draw per step for the images of all ranks (batch), per pair of neighbouring images (pair), or per "
        "image (elem)",
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
    layer_decay: Float = Field(
        1.0,
        gt=0,
        le=1,
        description="fine-tuning: learning rate of each block, as a share of that of the block after it; 1: all the same",
    )
    freeze_patch_embed: bool = Field(
        False, description="fine-tuning: the patch embedding keeps its weights (TNT: the pixel embedding)"
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
    amp_level: Literal["O0", "O1", "O2", "O3", "bf16", "auto"] = Field(
        "O0",
        description="mixed precision: O0 float32, O1 matrix products in float16, O2 all but the normalisations, O3 all; "
        "bf16: as O2 in bfloat16 (on CPU, only rounded to it); auto: O2 on Ascend, O0 on CPU",
    )
    is_dynamic_loss_scale: bool = Field(
        True, description="halve and double the loss scale as overflows come and go"
    )
    loss_scale: Float = Field(
        65536.0, ge=1, description="loss scale (the first one when dynamic); 1 at amp_level O0 and bf16"
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
        try:
            return resolve_arch(name)
        except UnknownArch as error:
            raise RuleError(error.what, suggestions=error.nearest, choices=tuple(ARCHS)) from error

    @field_validator("auto_augment")
    @classmethod
    def _valid_policy(cls, text: str) -> str:
        if text.lower() in ("", "none", "null"):
            return ""
        try:
            parse_policy(text)
        except RecipeError as error:
            raise RuleError(error.what) from error
        return text

    @field_validator("rrc_scale", "rrc_ratio")
    @classmethod
    def _ordered(cls, pair: tuple[float, float]) -> tuple[float, float]:
        if not 0 < pair[0] <= pair[1]:
            raise RuleError(expected="two positive numbers in rising order")
        return pair

    @field_validator("std")
    @classmethod
    def _positive(cls, values: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(values) <= 0:
            raise RuleError("every deviation must be greater than 0")
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        self._check_image_size()
        if self.freeze_patch_embed and not self.pretrained:
            message = "freeze_patch_embed would keep random weights: it needs pretrained"
            raise RuleError(message, at=("freeze_patch_embed",), others=(("pretrained",),))
        if self.lr_scheduler == "multistep_lr" and not self.lr_epochs:
            message = "lr_scheduler multistep_lr needs lr_epochs"
            raise RuleError(message, at=("lr_scheduler",), others=(("lr_epochs",),))
        if list(self.lr_epochs) != sorted(self.lr_epochs):
            raise RuleError("lr_epochs must rise", at=("lr_epochs",))
        if self.mixes and self.batch_size % 2:
            message = f"mix_up and cutmix mix pairs, so batch_size {self.batch_size} must be even"
            mixer = "mix_up" if self.mix_up else "cutmix"
            raise RuleError(message, at=(mixer,), others=(("batch_size",), ("mixup_prob",)))
        if self.color_jitter and self.auto_augment:
            message = "color_jitter and auto_augment exclude each other"
            raise RuleError(message, at=("color_jitter",), others=(("auto_augment",),))
        return self

    def _check_image_size(self) -> None:
        try:
            ARCHS[self.arch].resized(self.image_size)
        except RecipeError as error:
            raise RuleError(error.what, hint=error.hint, at=("image_size",), others=(("arch",),)) from error

    @property
    def side(self) -> int:
        """Side of the input image in pixels."""
        return self.image_size or ARCHS[self.arch].image_size

    @property
    def mixes(self) -> bool:
        """Whether mixup or cutmix is on."""
        return self.mixup_prob > 0 and (self.mix_up > 0 or self.cutmix > 0)

    def json_dict(self) -> dict[str, Any]:
        """Plain JSON values; `Recipe(**recipe.json_dict()) == recipe`."""
        return self.model_dump(mode="json")


def steps_per_epoch(images: int, batch: int, ranks: int) -> int:
    """Whole global batches in one epoch; every rank makes the same number of steps."""
    return images // (batch * ranks)


def scaled_lr(recipe: Recipe, world_size: int) -> float:
    """The peak learning rate at `world_size` ranks."""
    if recipe.lr_scale == "none":
        return recipe.base_lr
    return recipe.base_lr * recipe.batch_size * recipe.accumulate * world_size / recipe.lr_scale_batch
