"""Names of other frameworks: the same weights under their names come back as they were."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.vitmodels.nets.golden_nets import TINY, read_golden
from tests.vitmodels.nets.test_torchfile import write_torch
from vitmodels.errors import CheckpointError
from vitmodels.nets.layouts import convert, order_of, origin_of
from vitmodels.nets.weightfiles import read_weights
from vitmodels.training.weightsource import find_source

Weights = dict[str, np.ndarray]
TORCHVISION = (
    (r"^cls_token$", "class_token"),
    (r"^pos_embed$", "encoder.pos_embedding"),
    (r"^patch_embed\.proj", "conv_proj"),
    (r"^norm\.", "encoder.ln."),
    (r"^head\.", "heads.head."),
    (r"^blocks\.(\d+)\.norm(\d)", r"encoder.layers.encoder_layer_\1.ln_\2"),
    (r"^blocks\.(\d+)\.attn\.proj", r"encoder.layers.encoder_layer_\1.self_attention.out_proj"),
    (r"^blocks\.(\d+)\.attn\.qkv\.", r"encoder.layers.encoder_layer_\1.self_attention.in_proj_"),
    (r"^blocks\.(\d+)\.mlp\.fc1", r"encoder.layers.encoder_layer_\1.mlp.0"),
    (r"^blocks\.(\d+)\.mlp\.fc2", r"encoder.layers.encoder_layer_\1.mlp.3"),
)
OLD_TORCHVISION = tuple(
    (ours, theirs.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"))
    for ours, theirs in TORCHVISION
)
HUGGINGFACE = (
    (r"^cls_token$", "vit.embeddings.cls_token"),
    (r"^pos_embed$", "vit.embeddings.position_embeddings"),
    (r"^patch_embed\.proj", "vit.embeddings.patch_embeddings.projection"),
    (r"^norm\.", "vit.layernorm."),
    (r"^head\.", "classifier."),
    (r"^blocks\.(\d+)\.norm1", r"vit.encoder.layer.\1.layernorm_before"),
    (r"^blocks\.(\d+)\.norm2", r"vit.encoder.layer.\1.layernorm_after"),
    (r"^blocks\.(\d+)\.attn\.proj", r"vit.encoder.layer.\1.attention.output.dense"),
    (r"^blocks\.(\d+)\.attn\.([qkv])\.", r"vit.encoder.layer.\1.attention.attention.\2."),
    (r"^blocks\.(\d+)\.mlp\.fc1", r"vit.encoder.layer.\1.intermediate.dense"),
    (r"^blocks\.(\d+)\.mlp\.fc2", r"vit.encoder.layer.\1.output.dense"),
    (r"attention\.q\.", "attention.query."),
    (r"attention\.k\.", "attention.key."),
    (r"attention\.v\.", "attention.value."),
)
MINDCV = ((r"(norm\d?)\.weight$", r"\1.gamma"), (r"(norm\d?)\.bias$", r"\1.beta"))

GAMMAS = ((r"(norm\w*)\.weight$", r"\1.gamma"), (r"(norm\w*)\.bias$", r"\1.beta"))
ZOO_VIT_BASE = (
    *GAMMAS,
    (r"^cls_token$", "transformer.embeddings.cls_token"),
    (r"^pos_embed$", "transformer.embeddings.position_embeddings"),
    (r"^patch_embed\.proj", "transformer.embeddings.patch_embeddings"),
    (r"^norm\.", "transformer.encoder.encoder_norm."),
    (r"^blocks\.(\d+)\.norm1", r"transformer.encoder.layer.\1.attention_norm"),
    (r"^blocks\.(\d+)\.norm2", r"transformer.encoder.layer.\1.ffn_norm"),
    (r"^blocks\.(\d+)\.mlp", r"transformer.encoder.layer.\1.ffn"),
    (r"^blocks\.(\d+)\.attn\.proj", r"transformer.encoder.layer.\1.attn.out"),
    (r"^blocks\.(\d+)\.attn", r"transformer.encoder.layer.\1.attn"),
    (r"attn\.q\.", "attn.query."),
    (r"attn\.k\.", "attn.key."),
    (r"attn\.v\.", "attn.value."),
)
OLD_ZOO_VIT_BASE = (
    *ZOO_VIT_BASE,
    (r"encoder\.layer\.", "encoder."),
    (r"embeddings\.cls_token", "embeddings.q2"),
    (r"embeddings\.position_embeddings", "embeddings.q1"),
)
ZOO_VIT = (
    *GAMMAS,
    (r"^cls_token$", "cls"),
    (r"^pos_embed$", "pos_embedding"),
    (r"^patch_embed\.proj", "stem.patch_to_embedding.dense"),
    (r"^head\.", "head.0."),
    (r"^blocks\.(\d+)\.norm1", r"body.layers.\1.0.cell.0"),
    (r"^blocks\.(\d+)\.norm2", r"body.layers.\1.1.cell.0"),
    (r"^blocks\.(\d+)\.attn\.([qkv])\.", r"body.layers.\1.0.cell.1.to_\2."),
    (r"^blocks\.(\d+)\.attn\.proj", r"body.layers.\1.0.cell.1.to_out"),
    (r"^blocks\.(\d+)\.mlp\.fc(\d)", r"body.layers.\1.1.cell.1.ff\2.dense"),
)
ZOO_TNT = (
    (r"^patch_pos$", "outer_pos"),
    (r"^pixel_pos$", "inner_pos"),
    (r"^pixel_embed", "patch_embed"),
    (r"norm1_proj", "proj_norm1"),
    (r"^norm2_proj", "proj_norm2_tnt"),
    (r"norm2_proj", "proj_norm2"),
    (r"norm_in\.", "inner_norm1."),
    (r"norm_mlp_in\.", "inner_norm2."),
    (r"norm_out\.", "outer_norm1."),
    (r"norm_mlp\.", "outer_norm2."),
    (r"\.attn_in", ".inner_attn"),
    (r"\.mlp_in", ".inner_mlp"),
    (r"\.attn_out", ".outer_attn"),
    (r"\.mlp\.", ".outer_mlp."),
    *GAMMAS,
)


def split(weights: Weights) -> Weights:
    """Query, key and value apart."""
    found = {}
    for name, value in weights.items():
        if ".qkv." in name:
            thirds = zip("qkv", np.split(value, 3), strict=True)
            found |= {name.replace(".qkv.", f".{part}."): third for part, third in thirds}
        else:
            found[name] = value
    return found


def under(weights: Weights, rows: tuple[tuple[str, str], ...]) -> Weights:
    renamed = {}
    for whole, value in weights.items():
        name = whole
        for ours, theirs in rows:
            name = re.sub(ours, theirs, name)
        renamed[name] = value
    return renamed


def vit() -> Weights:
    return dict(read_golden("vit").weights)


def assert_same(found: Weights) -> None:
    expected = vit()
    assert found.keys() == expected.keys()
    assert all(np.array_equal(value, expected[name]) for name, value in found.items())


@pytest.mark.parametrize(
    ("rows", "apart", "order"),
    [
        (TORCHVISION, False, "text"),
        (OLD_TORCHVISION, False, "text"),
        (HUGGINGFACE, True, "text"),
        (MINDCV, False, "text"),
        (MINDCV, True, "text"),
        (ZOO_VIT_BASE, True, "text"),
        (OLD_ZOO_VIT_BASE, True, "text"),
        (ZOO_VIT, True, "text"),
        ((), False, "natural"),
    ],
    ids=[
        "torchvision",
        "old torchvision",
        "HuggingFace",
        "MindCV",
        "MindCV, q k v",
        "the zoo's vit_base",
        "the zoo's vit_base, older MindSpore",
        "the zoo's VIT",
        "timm",
    ],
)
@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "module.", "model.", "module._orig_mod.", "network."])
def test_names_of_other_frameworks(
    rows: tuple[tuple[str, str], ...], apart: bool, order: str, prefix: str
) -> None:
    weights = under(split(vit()) if apart else vit(), rows)
    theirs = {prefix + name: value for name, value in weights.items()}
    assert_same(convert(theirs, TINY["vit"], 5).weights)
    assert order_of(theirs) == order


def test_deit_of_huggingface() -> None:
    theirs = {
        name.replace("vit.", "deit."): value for name, value in under(split(vit()), HUGGINGFACE).items()
    }
    theirs["deit.pooler.dense.weight"] = np.zeros((2, 2), np.float32)
    assert_same(convert(theirs, TINY["vit"], 5).weights)
    theirs["deit.embeddings.distillation_token"] = np.zeros((1, 1, 24), np.float32)
    with pytest.raises(CheckpointError, match="distilled DeiT"):
        convert(theirs, TINY["vit"], 5)


def test_the_state_of_an_optimiser_is_left_out() -> None:
    state = {"moment1.head.weight": np.ones(3), "global_step": np.ones(1), "learning_rate": np.ones(1)}
    assert_same(convert({**under(vit(), MINDCV), **state}, TINY["vit"], 5).weights)


def test_a_name_that_is_there_twice() -> None:
    with pytest.raises(CheckpointError, match=r"holds norm\.bias twice, once as module\.norm\.bias"):
        convert({**vit(), "module.norm.bias": np.zeros(3)}, TINY["vit"], 5)


def test_names_that_do_not_fit_stand_side_by_side() -> None:
    weights = vit()
    weights["final.scale"] = weights.pop("norm.weight")
    with pytest.raises(CheckpointError) as caught:
        convert(weights, TINY["vit"], 5)
    table = str(caught.value).splitlines()
    size = vit()["norm.weight"].shape
    assert any("only in the file" in row and "only in the model" in row for row in table)
    assert any(f"final.scale {size}" in row and f"| norm.weight {size}" in row for row in table)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_named(bad: float) -> None:
    weights = vit()
    weights["blocks.1.mlp.fc1.bias"] = weights["blocks.1.mlp.fc1.bias"].copy()
    weights["blocks.1.mlp.fc1.bias"][3] = bad
    with pytest.raises(CheckpointError, match=r"blocks\.1\.mlp\.fc1\.bias holds 1 of \d+ values"):
        convert(weights, TINY["vit"], 5)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int64", "bool", "complex64"])
def test_values_of_another_kind_are_no_weights(kind: str) -> None:
    """As of a quantised net, whose whole numbers mean nothing without their scale."""
    weights = vit()
    weights["blocks.1.mlp.fc1.weight"] = np.ones_like(weights["blocks.1.mlp.fc1.weight"], kind)
    with pytest.raises(CheckpointError, match=rf"blocks\.1\.mlp\.fc1\.weight holds values of type {kind}"):
        convert(weights, TINY["vit"], 5)


@pytest.mark.parametrize("name", ["head.weight", "head.bias"])
def test_half_a_head_is_no_head(name: str) -> None:
    """The other half would stay at what it was before training."""
    weights = vit()
    del weights[name]
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        convert(weights, TINY["vit"], 5)
    whole = {key: value for key, value in vit().items() if not key.startswith("head.")}
    assert convert(whole, TINY["vit"], 5).weights.keys() == whole.keys()


@pytest.mark.parametrize("name", ["head.weight", "pos_embed", "cls_token", "patch_embed.proj.weight"])
@pytest.mark.parametrize("shape", [(), (7,), (2, 2, 2, 2, 2)])
def test_a_shape_that_can_not_be_is_named(name: str, shape: tuple[int, ...]) -> None:
    weights = vit() | {name: np.ones(shape, np.float32)}
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        convert(weights, TINY["vit"], 5)
    with pytest.raises(CheckpointError):
        origin_of(weights)


def test_a_distilled_deit_of_timm() -> None:
    weights = vit()
    weights |= {"dist_token": weights["cls_token"], "head_dist.weight": weights["head.weight"]}
    weights["pos_embed"] = np.concatenate([weights["pos_embed"], weights["pos_embed"][:, :1]], 1)
    with pytest.raises(CheckpointError, match="distilled DeiT: dist_token"):
        convert(weights, TINY["vit"], 5)


def write_bfloat16(path: Path, bits: np.ndarray, kind: str = "BF16") -> None:
    data = bits.tobytes()
    header = {"w": {"dtype": kind, "shape": list(bits.shape), "data_offsets": [0, len(data)]}}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def test_bfloat16(tmp_path: Path) -> None:
    write_bfloat16(tmp_path / "net.safetensors", np.array([[0x3FC0, 0xC000]], np.uint16))
    found = read_weights(tmp_path / "net.safetensors").weights["w"]
    assert (found.dtype, found.tolist()) == (np.float32, [[1.5, -2.0]])


@pytest.mark.parametrize("kind", ["F8_E4M3", "F8_E5M2"])
def test_numbers_of_eight_bits_are_named(tmp_path: Path, kind: str) -> None:
    write_bfloat16(tmp_path / "net.safetensors", np.array([1, 2], np.uint8), kind)
    with pytest.raises(CheckpointError, match=f"w has the type {kind}") as caught:
        read_weights(tmp_path / "net.safetensors")
    assert "bfloat16" in caught.value.hint


def test_a_net_of_pytorch_in_several_files(tmp_path: Path) -> None:
    write_torch(tmp_path / "pytorch_model-00001-of-00002.bin", {"a": np.ones(2, np.float32)})
    write_torch(tmp_path / "pytorch_model-00002-of-00002.bin", {"b": np.zeros(1, np.float32)})
    places = {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 12}, "weight_map": places}))
    for name in (tmp_path, index):
        found = find_source(str(name), None).weights
        assert {key: value.tolist() for key, value in found.items()} == {"a": [1, 1], "b": [0]}
    (tmp_path / places["b"]).unlink()
    with pytest.raises(CheckpointError, match=r"names pytorch_model-00002-of-00002\.bin, which is not there"):
        read_weights(index)


@pytest.mark.parametrize("content", ["[]", "{", "{}", '{"weight_map": [1]}', '{"weight_map": {"a": 1}}'])
def test_an_index_that_is_none(tmp_path: Path, content: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(content)
    with pytest.raises(CheckpointError, match=r"index\.json") as caught:
        read_weights(index)
    assert "attribute" not in str(caught.value)


def test_a_net_in_several_files(tmp_path: Path) -> None:
    save_file({"a": np.ones(2, np.float32)}, tmp_path / "model-1.safetensors")
    write_bfloat16(tmp_path / "model-2.safetensors", np.array([0x3FC0], np.uint16))
    index = tmp_path / "model.safetensors.index.json"
    places = {"a": "model-1.safetensors", "w": "model-2.safetensors"}
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    for name in (tmp_path, index):
        found = find_source(str(name), None).weights
        assert {key: value.tolist() for key, value in found.items()} == {"a": [1, 1], "w": [1.5]}
    index.write_text(json.dumps({"weight_map": {**places, "b": "model-1.safetensors"}}))
    with pytest.raises(CheckpointError, match="names b, which is in none"):
        read_weights(index)
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"names model-2\.safetensors, which is not there"):
        read_weights(index)


@pytest.mark.parametrize("first", [True, False])
def test_arrays_of_an_earlier_save_are_left_where_they_lie(tmp_path: Path, first: bool) -> None:
    """The index says which file has an array; another file may hold an older one of this name."""
    names = ["model-1.safetensors", "model-2.safetensors"]
    new, old = names if first else reversed(names)
    save_file({"a": np.ones(2, np.float32)}, tmp_path / new)
    save_file({"a": np.zeros(2, np.float32), "b": np.ones(1, np.float32)}, tmp_path / old)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": new, "b": old}}))
    found = read_weights(index).weights
    assert {key: value.tolist() for key, value in found.items()} == {"a": [1, 1], "b": [1]}


@pytest.mark.parametrize("words", ["cat,dog", "", "['a', 'b']", "{"])
@pytest.mark.parametrize("key", ["classes", "class_order"])
def test_metadata_of_other_programs_are_passed_over(tmp_path: Path, key: str, words: str) -> None:
    save_file({"a": np.ones(2, np.float32)}, tmp_path / "net.safetensors", metadata={key: words})
    contents = read_weights(tmp_path / "net.safetensors")
    assert contents.weights["a"].tolist() == [1, 1]
    assert contents.about == {}


def zoo_tnt() -> tuple[Weights, Weights]:
    """A net under the names of the zoo's TNT, which has no bias in five kinds of layers; and what ours must be."""
    expected = dict(read_golden("tnt").weights)
    none = re.compile(r"(pixel_embed\.proj|proj|head|.*attn_(in|out)\.proj|.*mlp(_in)?\.fc2)\.bias")
    lacking = list(filter(none.fullmatch, expected))
    assert len(lacking) > 10
    expected |= {name: np.zeros_like(expected[name]) for name in lacking}
    theirs = {}
    for name, value in under({k: v for k, v in expected.items() if k not in lacking}, ZOO_TNT).items():
        if ".qk." in name:
            halves = zip("qk", np.split(value, 2), strict=True)
            theirs |= {name.replace(".qk.", f".{part}."): half for part, half in halves}
        elif name == "inner_pos":  # (1, pixels, c)
            theirs[name] = value.reshape(*value.shape[:2], -1).transpose(0, 2, 1)
        else:
            theirs[name] = value
    return theirs, expected


@pytest.mark.parametrize("prefix", ["", "model."])
def test_the_zoos_tnt_has_fewer_biases(prefix: str) -> None:
    theirs, expected = zoo_tnt()
    state = {"learning_rate": np.float32(1), "moment1.outer_pos": theirs["outer_pos"]}
    converted = convert({prefix + name: value for name, value in theirs.items()} | state, TINY["tnt"], 5)
    assert converted.weights.keys() == expected.keys()
    assert all(np.array_equal(value, expected[name]) for name, value in converted.weights.items())
    assert "the model zoo's TNT" in converted.notes[0]


def test_the_zoos_linear_stem_is_a_convolution() -> None:
    theirs = under(split(vit()), ZOO_VIT)
    stem = theirs["stem.patch_to_embedding.dense.weight"]
    theirs["stem.patch_to_embedding.dense.weight"] = stem.reshape(stem.shape[0], -1)
    assert_same(convert(theirs, TINY["vit"], 5).weights)
