"""Names of weights in torchvision, HuggingFace, MindCV and MindSpore's model zoo, and timm's, which are ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vitmodels.errors import CheckpointError

_WRAPPERS = ("_orig_mod.", "module.", "model.", "network.")
"""What torch.compile, data parallel training, Lightning and MindSpore's cells with a loss put before each name."""
DISTILLED = re.compile(r"(^|\.)(dist_token|distillation_token)$")
"""The token more that a distilled net has, in the names of timm and HuggingFace."""
_TRAINING = re.compile(
    r"^(n_averaged|global_step|learning_rate|epoch_num|step_num|beta[12]_power|scale_sense|current_iterator_step|"
    r"last_overflow_iterator_step|(moment[12s]?|adam_[mv]|accum)\..*)$"
)


@dataclass(frozen=True)
class Peer:
    """How one framework names things. A name of `mark` begins its files; `order` is how it numbers class folders.

    `rows` are its patterns and our names; the matrices in `parts`, in order, make the one called `joined`. Layers in `biasless`
    have no bias there. `note` is for people: in what the net computes something else than ours.
    """

    title: str
    mark: re.Pattern[str]
    order: Literal["text", "natural"]
    rows: tuple[tuple[str, str], ...]
    parts: tuple[str, ...] = ()
    joined: str = "qkv"
    biasless: str = "$^"
    unused: str = "$^"
    note: str = ""


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
    unused=rf"{_BASE}pooler\.",
)
_MINDCV = Peer(
    "MindCV",
    re.compile(r"(blocks\.\d+\.norm1|norm)\.gamma$"),
    "text",
    ((r"head\.classifier", "head"),),
    ("q", "k", "v"),
)
_ZOO_TNT = Peer(
    "the model zoo's TNT",
    re.compile(r"blocks\.\d+\.inner_attn\.[qk]\.weight"),
    "text",
    ((r"proj_norm2_tnt", "proj_norm2"),),
    ("q", "k"),
    "qk",
    r"(patch_embed\.|blocks\.\d+\.(inner|outer)_attn\.)?proj|blocks\.\d+\.(inner|outer)_mlp\.fc2|head",
    note="layers without a bias get one of 0; GELU is the exact one here, not that of tanh (about 1e-3 in the logits)",
)
"""Its names are those of the TNT authors, but for these."""
_ZOO_BLOCK = r"transformer\.encoder\.(?:layer\.)?(\d+)\."
_ZOO_VIT_BASE = Peer(
    "the model zoo's vit_base",
    re.compile(rf"{_ZOO_BLOCK}attention_norm\."),
    "text",
    (
        (r"transformer\.embeddings\.(?:cls_token|q2)", "cls_token"),
        (r"transformer\.embeddings\.(?:position_embeddings|q1)", "pos_embed"),
        (r"transformer\.embeddings\.patch_embeddings", "patch_embed.proj"),
        (r"transformer\.encoder\.encoder_norm", "norm"),
        (rf"{_ZOO_BLOCK}attention_norm", r"blocks.\1.norm1"),
        (rf"{_ZOO_BLOCK}ffn_norm", r"blocks.\1.norm2"),
        (rf"{_ZOO_BLOCK}ffn\.(fc\d)", r"blocks.\1.mlp.\2"),
        (rf"{_ZOO_BLOCK}attn\.out", r"blocks.\1.attn.proj"),
        (rf"{_ZOO_BLOCK}attn\.(query|key|value)", r"blocks.\1.attn.\2"),
    ),
    ("query", "key", "value"),
)
_ZOO_BODY = r"body\.layers\.(\d+)\."
_ZOO_VIT = Peer(
    "the model zoo's VIT",
    re.compile(rf"{_ZOO_BODY}0\.cell\.0\."),
    "text",
    (
        (r"cls", "cls_token"),
        (r"pos_embedding", "pos_embed"),
        (r"stem\.patch_to_embedding\.dense", "patch_embed.proj"),
        (r"norm", "norm"),
        (r"head\.0", "head"),
        (rf"{_ZOO_BODY}0\.cell\.0", r"blocks.\1.norm1"),
        (rf"{_ZOO_BODY}1\.cell\.0", r"blocks.\1.norm2"),
        (rf"{_ZOO_BODY}0\.cell\.1\.to_out", r"blocks.\1.attn.proj"),
        (rf"{_ZOO_BODY}0\.cell\.1\.to_([qkv])", r"blocks.\1.attn.\2"),
        (rf"{_ZOO_BODY}1\.cell\.1\.ff(\d)\.dense", r"blocks.\1.mlp.fc\2"),
    ),
    ("q", "k", "v"),
)
_PEERS = (_TORCHVISION, _HUGGINGFACE, _ZOO_TNT, _ZOO_VIT_BASE, _ZOO_VIT, _MINDCV)
_END = re.compile(r"\.(weight|bias|gamma|beta)$")
_ENDS = {"gamma": ".weight", "beta": ".bias"}
"""What MindSpore calls the weight and bias of a normalisation."""
_PATCH = "patch_embed.proj.weight"


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
    """The weights in timm's names."""
    kept = {name: value for name, value in weights.items() if not re.match(peer.unused, name)}
    renamed = _joined({_renamed(name, peer): value for name, value in kept.items()}, peer)
    if (
        _PATCH in renamed and renamed[_PATCH].ndim == 2
    ):  # a matrix over the pixels of a patch, channel by channel
        side = round((renamed[_PATCH].shape[1] / 3) ** 0.5)
        renamed[_PATCH] = renamed[_PATCH].reshape(-1, 3, side, side)
    return renamed | _zero_biases(renamed, peer)


def _zero_biases(weights: Mapping[str, np.ndarray], peer: Peer) -> dict[str, np.ndarray]:
    """Of the layers that have none there."""
    biases = {}
    for name, value in weights.items():
        layer, _, end = name.rpartition(".")
        if end == "weight" and f"{layer}.bias" not in weights and re.fullmatch(peer.biasless, layer):
            biases[f"{layer}.bias"] = np.zeros(value.shape[0], value.dtype)
    return biases


def _renamed(name: str, peer: Peer) -> str:
    match = _END.search(name)
    layer, end = (name[: match.start()], _ENDS.get(match[1], match[0])) if match else (name, "")
    for pattern, ours in peer.rows:
        if found := re.fullmatch(pattern, layer):
            return found.expand(ours) + end
    return layer + end


def _joined(weights: dict[str, np.ndarray], peer: Peer) -> dict[str, np.ndarray]:
    """The parts of each attention as one matrix, where the file has all of them."""
    if not peer.parts:
        return weights
    joined = dict(weights)
    for name in weights:
        if match := re.fullmatch(rf"(blocks\.\d+\.(?:\w+_)?attn)\.{peer.parts[0]}\.(weight|bias)", name):
            sources = [f"{match[1]}.{part}.{match[2]}" for part in peer.parts]
            if all(source in weights for source in sources):
                joined[f"{match[1]}.{peer.joined}.{match[2]}"] = np.concatenate(
                    [joined.pop(one) for one in sources]
                )
    return joined
