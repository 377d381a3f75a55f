"""Names of ViT weights in torchvision, HuggingFace and MindCV, MindSpore's model zoo, and timm's, which are ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vitmodels.errors import CheckpointError

_WRAPPERS = ("_orig_mod.", "module.", "model.")
"""What torch.compile, data parallel training and Lightning put before each name."""
_TRAINING = re.compile(
    r"^(global_step|learning_rate|epoch_num|step_num|beta[12]_power|scale_sense|current_iterator_step|"
    r"last_overflow_iterator_step|(moment[12s]?|adam_[mv]|accum)\..*)$"
)


@dataclass(frozen=True)
class Peer:
    """How one framework names things. A name of `mark` begins its files; `order` is how it numbers class folders.

    `rows` are its patterns and our names; three patterns in `parts`, in order, make one qkv matrix.
    """

    title: str
    mark: re.Pattern[str]
    order: Literal["text", "natural"]
    rows: tuple[tuple[str, str], ...]
    parts: tuple[str, str, str] | None = None
    unused: str = "$^"


_TORCHVISION = Peer(
    "torchvision",
    re.compile(r"encoder\.layers\.encoder_layer_\d+\."),
    "text",
    (
        (r"class_token", "cls_token"),
        (r"conv_proj", "patch_embed.proj"),
        (r"encoder\.pos_embedding", "pos_embed"),
        (r"encoder\.ln", "norm"),
        (r"heads\.head", "head"),
        (r"encoder\.layers\.encoder_layer_(\d+)\.ln_(\d)", r"blocks.\1.norm\2"),
        (r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.out_proj", r"blocks.\1.attn.proj"),
        (
            r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.in_proj_(weight|bias)",
            r"blocks.\1.attn.qkv.\2",
        ),
        (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:0|linear_1)", r"blocks.\1.mlp.fc1"),
        (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:3|linear_2)", r"blocks.\1.mlp.fc2"),
    ),
)
_BASE = r"(?:(?:vit|deit)\.)?"
_LAYER = rf"{_BASE}encoder\.layer\.(\d+)\."
_HUGGINGFACE = Peer(
    "HuggingFace",
    re.compile(rf"{_BASE}encoder\.layer\.\d+\.(attention|layernorm_before)\."),
    "text",
    (
        (rf"{_BASE}embeddings\.cls_token", "cls_token"),
        (rf"{_BASE}embeddings\.position_embeddings", "pos_embed"),
        (rf"{_BASE}embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
        (rf"{_BASE}layernorm", "norm"),
        (r"classifier", "head"),
        (rf"{_LAYER}layernorm_before", r"blocks.\1.norm1"),
        (rf"{_LAYER}layernorm_after", r"blocks.\1.norm2"),
        (rf"{_LAYER}attention\.output\.dense", r"blocks.\1.attn.proj"),
        (rf"{_LAYER}intermediate\.dense", r"blocks.\1.mlp.fc1"),
        (rf"{_LAYER}output\.dense", r"blocks.\1.mlp.fc2"),
        (rf"{_LAYER}attention\.attention\.(query|key|value)", r"blocks.\1.attn.\2"),
    ),
    ("query", "key", "value"),
    rf"{_BASE}pooler\.",
)
_ZOO = Peer(
    "MindCV",
    re.compile(r"(blocks\.\d+\.norm1|norm)\.gamma$"),
    "text",
    (
        (r"(.*)\.gamma", r"\1.weight"),
        (r"(.*)\.beta", r"\1.bias"),
        (r"head\.classifier", "head"),
    ),
    ("q", "k", "v"),
)
_PEERS = (_TORCHVISION, _HUGGINGFACE, _ZOO)


def unwrapped(source: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights without what wrappers put before each name, and without the state of an optimiser."""
    found: dict[str, np.ndarray] = {}
    for whole, value in source.items():
        name = whole
        while name.startswith(_WRAPPERS):
            name = name.partition(".")[2]
        if name in found:
            raise CheckpointError(f"the file holds {name} twice, once as {whole}")
        if not _TRAINING.match(name):
            found[name] = value
    return found


def peer_of(names: Mapping[str, np.ndarray]) -> Peer | None:
    """The framework whose names these are; None for timm's and unknown ones."""
    return next((peer for peer in _PEERS if any(peer.mark.match(name) for name in names)), None)


def from_peer(weights: Mapping[str, np.ndarray], peer: Peer) -> dict[str, np.ndarray]:
    """The weights in timm's names. Raises CheckpointError for a distilled net, which has one token more than ours."""
    if distilled := next((name for name in weights if name.endswith("distillation_token")), ""):
        raise CheckpointError(
            f"the weights are those of a distilled DeiT: {distilled}", hint="use a DeiT without distillation"
        )
    renamed = {
        _renamed(name, peer): value for name, value in weights.items() if not re.match(peer.unused, name)
    }
    return _joined(renamed, peer.parts) if peer.parts else renamed


def _renamed(name: str, peer: Peer) -> str:
    for pattern, ours in peer.rows:
        if match := re.fullmatch(rf"{pattern}(?P<end>\.weight|\.bias)?", name):
            return match.expand(ours) + (match["end"] or "")
    return name


def _joined(weights: dict[str, np.ndarray], parts: tuple[str, str, str]) -> dict[str, np.ndarray]:
    """Query, key and value of each block as one matrix, where the file has all three."""
    joined = dict(weights)
    for name in weights:
        if match := re.fullmatch(rf"(blocks\.\d+\.attn)\.{parts[0]}\.(weight|bias)", name):
            sources = [f"{match[1]}.{part}.{match[2]}" for part in parts]
            if all(source in weights for source in sources):
                joined[f"{match[1]}.qkv.{match[2]}"] = np.concatenate([joined.pop(one) for one in sources])
    return joined
