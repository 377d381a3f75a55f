import math
from pathlib import Path

import numpy as np
import pytest

from tests.vitmodels.nets.golden_nets import TINY, make_net, read_golden
from vitmodels.archs import ARCHS, parameter_count
from vitmodels.convert import main
from vitmodels.errors import CheckpointError
from vitmodels.nets.layouts import Origin, convert, cubic_matrix, origin_of, resize_positions
from vitmodels.nets.shapes import expected_shapes
from vitmodels.nets.weightfiles import read_weights, write_weights
from vitmodels.nets.weights import load_converted, model_weights
from vitmodels.training.checkpoint import Snapshot, write_set

# The names of a block in the checkpoints of the TNT authors, and here.
AUTHORS = {
    "inner_norm1": "norm_in",
    "inner_attn": "attn_in",
    "inner_norm2": "norm_mlp_in",
    "inner_mlp": "mlp_in",
    "proj_norm1": "norm1_proj",
    "proj_norm2": "norm2_proj",
    "outer_norm1": "norm_out",
    "outer_attn": "attn_out",
    "outer_norm2": "norm_mlp",
    "outer_mlp": "mlp",
}


def to_npz_names(weights: dict[str, np.ndarray], heads: int) -> dict[str, np.ndarray]:
    """The reverse of the reader, written from the Flax module's shapes."""
    dim = weights["cls_token"].shape[-1]
    found = {
        "cls": weights["cls_token"],
        "Transformer/posembed_input/pos_embedding": weights["pos_embed"],
        "embedding/kernel": weights["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": weights["patch_embed.proj.bias"],
        "Transformer/encoder_norm/scale": weights["norm.weight"],
        "Transformer/encoder_norm/bias": weights["norm.bias"],
        "head/kernel": weights["head.weight"].T,
        "head/bias": weights["head.bias"],
        "pre_logits/kernel": np.zeros((dim, dim), np.float32),
    }
    for block in range(2):
        prefix, source = f"Transformer/encoderblock_{block}/", f"blocks.{block}."
        for number, norm in ((0, "norm1"), (2, "norm2")):
            found[f"{prefix}LayerNorm_{number}/scale"] = weights[f"{source}{norm}.weight"]
            found[f"{prefix}LayerNorm_{number}/bias"] = weights[f"{source}{norm}.bias"]
        for index, name in enumerate(("query", "key", "value")):
            part = slice(index * dim, (index + 1) * dim)
            kernel = weights[f"{source}attn.qkv.weight"][part].T.reshape(dim, heads, -1)
            found[f"{prefix}MultiHeadDotProductAttention_1/{name}/kernel"] = kernel
            bias = weights[f"{source}attn.qkv.bias"][part].reshape(heads, -1)
            found[f"{prefix}MultiHeadDotProductAttention_1/{name}/bias"] = bias
        out = f"{prefix}MultiHeadDotProductAttention_1/out"
        found[f"{out}/kernel"] = weights[f"{source}attn.proj.weight"].T.reshape(heads, -1, dim)
        found[f"{out}/bias"] = weights[f"{source}attn.proj.bias"]
        for number, name in ((0, "fc1"), (1, "fc2")):
            found[f"{prefix}MlpBlock_3/Dense_{number}/kernel"] = weights[f"{source}mlp.{name}.weight"].T
            found[f"{prefix}MlpBlock_3/Dense_{number}/bias"] = weights[f"{source}mlp.{name}.bias"]
    return found


@pytest.mark.parametrize("family", ["vit", "tnt"])
def test_timm_weights_need_no_change(family: str, tmp_path: Path) -> None:
    weights = read_golden(family).weights
    write_weights(weights, tmp_path / "net.safetensors")
    found = convert(read_weights(tmp_path / "net.safetensors").weights, TINY[family], 5)
    assert found.notes == []
    assert found.weights.keys() == weights.keys()
    assert all(np.array_equal(value, weights[name]) for name, value in found.weights.items())
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


@pytest.mark.parametrize("prefix", ["", "params/"])
def test_original_vit_npz(prefix: str, tmp_path: Path) -> None:
    weights = read_golden("vit").weights
    path = tmp_path / "ViT-tiny.npz"
    np.savez(path, **{prefix + name: value for name, value in to_npz_names(weights, 3).items()})
    found = convert(read_weights(path).weights, TINY["vit"], 5)
    assert found.weights.keys() == weights.keys()
    assert all(np.array_equal(value, weights[name]) for name, value in found.weights.items())


def test_checkpoint_of_the_tnt_authors() -> None:
    weights = read_golden("tnt").weights
    theirs = {}
    for name, value in weights.items():
        part = name.split(".")[2] if name.startswith("blocks.") else ""
        wanted = next((old for old, new in AUTHORS.items() if new == part), part)
        key = ".".join([*name.split(".")[:2], wanted, *name.split(".")[3:]]) if part else name
        theirs[key] = value
    for ours, old in (
        ("norm1_proj", "proj_norm1"),
        ("norm2_proj", "proj_norm2"),
        ("pixel_embed", "patch_embed"),
    ):
        for name in [name for name in theirs if name.startswith(ours)]:
            theirs[name.replace(ours, old)] = theirs.pop(name)
    theirs["outer_pos"] = theirs.pop("patch_pos")
    theirs["inner_pos"] = theirs.pop("pixel_pos").reshape(1, 8, 16).transpose(0, 2, 1)
    theirs["outer_tokens"] = np.zeros((1, 4, 24), np.float32)
    found = convert({f"module.{name}": value for name, value in theirs.items()}, TINY["tnt"], 5)
    assert found.weights.keys() == weights.keys()
    assert all(np.array_equal(value, weights[name]) for name, value in found.weights.items())


def test_expected_shapes_agree_with_nets_and_counts() -> None:
    for family in ("vit", "tnt"):
        net = {name: value.shape for name, value in model_weights(make_net(family)).items()}
        assert net == expected_shapes(TINY[family], 5)
    for config in ARCHS.values():
        shapes = expected_shapes(config, 1000)
        assert sum(math.prod(shape) for shape in shapes.values()) == parameter_count(config, 1000)


def test_misfits_are_named() -> None:
    weights = dict(read_golden("vit").weights)
    del weights["norm.bias"]
    weights["extra"] = np.zeros(3, np.float32)
    weights["norm.weight"] = np.zeros(5, np.float32)
    with pytest.raises(
        CheckpointError, match=r"norm.bias is missing; extra is unknown; norm.weight is \(5,\)"
    ):
        convert(weights, TINY["vit"], 5)


def test_cubic_matrix_keeps_constants_and_identity() -> None:
    for old, new in ((7, 12), (14, 24), (14, 7), (5, 5)):
        matrix = cubic_matrix(old, new)
        assert np.allclose(matrix.sum(axis=1), 1)
        assert np.allclose(matrix, matrix[::-1, ::-1])
    assert np.allclose(cubic_matrix(5, 5), np.eye(5))
    ramp = cubic_matrix(16, 32) @ np.arange(16.0)
    assert np.allclose(np.diff(ramp)[6:-6], 0.5, atol=0.02)


def test_positions_like_torch_bicubic_antialias() -> None:
    """Values from torch.nn.functional.interpolate(mode="bicubic", antialias=True) of arange(9) as 3x3."""
    square = np.arange(9, dtype=np.float32).reshape(1, 9, 1)
    found = resize_positions(np.concatenate([np.full((1, 1, 1), 42, np.float32), square], 1), 2)
    assert found[0, 0, 0] == 42
    assert np.allclose(found[0, 1:, 0], TORCH_3_TO_2, atol=1e-4)
    grown = resize_positions(np.concatenate([np.zeros((1, 1, 1), np.float32), square], 1), 4)
    assert np.allclose(grown[0, 1:, 0], TORCH_3_TO_4, atol=1e-4)


TORCH_3_TO_2 = [1.23916, 2.61958, 5.38042, 6.76083]
TORCH_3_TO_4 = [
    -0.20896,
    0.39988,
    1.28669,
    1.89552,
    1.61755,
    2.22638,
    3.11319,
    3.72202,
    4.27798,
    4.88681,
    5.77362,
    6.38245,
    6.10448,
    6.71331,
    7.60012,
    8.20895,
]


def test_weights_with_another_head_and_image_size() -> None:
    weights = read_golden("vit").weights
    weights["pos_embed"] = np.tile(weights["pos_embed"], (1, 3, 1))[:, :37]  # 1 + 6x6
    net = make_net("vit", num_classes=3)
    before = model_weights(net)
    notes = load_converted(net, weights, whole=False)
    after = model_weights(net)
    assert np.array_equal(after["head.weight"], before["head.weight"])
    assert np.array_equal(after["norm.weight"], weights["norm.weight"])
    assert after["pos_embed"].shape == (1, 17, 24)
    with pytest.raises(CheckpointError, match="the head of 5 classes is not used, the model has 3"):
        load_converted(net, weights, whole=True)
    assert any("6x6 to 4x4" in note for note in notes) and any("head of 5 classes" in note for note in notes)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = {
        name: np.full(shape, 0.5, np.float32)
        for name, shape in expected_shapes(ARCHS["vit_digits"], 10).items()
    }
    write_weights(weights, tmp_path / "in.safetensors")
    arguments = [str(tmp_path / "in.safetensors"), str(tmp_path / "out.safetensors"), "--arch", "vit_digits"]
    assert main([*arguments, "--num-classes", "4"]) == 0
    assert "head of 10 classes is not used" in capsys.readouterr().out
    assert "head.weight" not in read_weights(tmp_path / "out.safetensors").weights
    assert main([*arguments[:2], "--arch", "nothing"]) == 2
    (tmp_path / "torn.safetensors").write_bytes(b"\xff" * 40)
    assert main([str(tmp_path / "torn.safetensors"), *arguments[1:]]) == 1
    assert "can't read weights" in capsys.readouterr().err


def test_command_takes_a_run_and_keeps_its_averaged_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shapes = expected_shapes(ARCHS["vit_digits"], 10)
    weights = {name: np.full(shape, 0.5, np.float32) for name, shape in shapes.items()}
    averages = {f"ema.{name}": value + 1 for name, value in weights.items()}
    write_set(tmp_path / "checkpoints", Snapshot(3, 1, "vit_digits", weights, averages))
    for suffix in (".safetensors", ".npz", ".ckpt"):
        assert main([str(tmp_path), str(tmp_path / f"out{suffix}")]) == 0
        assert "arrays of vit_digits, ema parameters" in capsys.readouterr().out
        found = read_weights(tmp_path / f"out{suffix}").weights
        assert found.keys() == shapes.keys()
        assert all((value == 1.5).all() for value in found.values())
    assert main([str(tmp_path), str(tmp_path / "raw.npz"), "--parameters", "raw"]) == 0
    assert all((value == 0.5).all() for value in read_weights(tmp_path / "raw.npz").weights.values())


def test_command_does_not_write_a_format_that_the_name_does_not_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_weights({"a": np.zeros(2, np.float32)}, tmp_path / "in.safetensors")
    assert main([str(tmp_path / "in.safetensors"), str(tmp_path / "out.pth")]) == 1
    assert "the name must end with one of .safetensors, .npz, .ckpt" in capsys.readouterr().err
    assert not (tmp_path / "out.pth").exists()
    assert main([str(tmp_path / "in.safetensors"), str(tmp_path / "none" / "out.npz")]) == 1


def test_missing_and_unknown_arrays_of_an_npz_are_named(tmp_path: Path) -> None:
    arrays = to_npz_names(read_golden("vit").weights, 3)
    gone = "Transformer/encoderblock_1/MultiHeadDotProductAttention_1/key/kernel"
    del arrays[gone]
    arrays["Transformer/extra"] = np.zeros(3, np.float32)
    with pytest.raises(CheckpointError, match=f"{gone} is missing; Transformer/extra is unknown"):
        convert(arrays, TINY["vit"], 5)
    del arrays["embedding/kernel"]
    with pytest.raises(CheckpointError, match="embedding/kernel is missing"):
        convert(arrays, TINY["vit"], 5)


@pytest.mark.parametrize("arch", sorted(ARCHS))
def test_the_sizes_of_weights_tell_their_net(arch: str) -> None:
    config = ARCHS[arch].resized(2 * ARCHS[arch].image_size)
    shapes = expected_shapes(config, 7)
    nothing = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    assert origin_of(nothing) == Origin(arch, 7, config.image_size)
