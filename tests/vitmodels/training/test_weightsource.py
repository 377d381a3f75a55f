"""Which weights a name stands for: damaged sets are never skipped in silence, averaged weights never get lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitmodels.archs import ARCHS
from vitmodels.errors import CheckpointError, RecipeError
from vitmodels.nets.shapes import expected_shapes
from vitmodels.nets.weightfiles import write_weights
from vitmodels.training.checkpoint import Snapshot, write_set
from vitmodels.training.weightsource import Source, find_source, recipe_of

SHAPES = expected_shapes(ARCHS["vit_digits"], 3)


def weights_of(value: float) -> dict[str, np.ndarray]:
    return {name: np.full(shape, value, np.float32) for name, shape in SHAPES.items()}


def write(run: Path, step: int, *, ema: float | None = None, **extra: Any) -> Path:
    """A set whose weights are its step, and whose averaged weights are `ema`."""
    state = {"trainer": np.zeros(2, np.int64)}
    if ema is not None:
        state |= {f"ema.{name}": value for name, value in weights_of(ema).items()}
    snapshot = Snapshot(step, 1, "vit_digits", weights_of(step), state, {}, extra)
    return write_set(run / "checkpoints", snapshot)


def value_of(source: Source) -> float:
    """What all weights of a source are."""
    values = {float(value) for array in source.weights.values() for value in np.unique(array)}
    assert len(values) == 1
    return values.pop()


def damage(path: Path, kind: str) -> None:
    model = path / "model.safetensors"
    if kind == "flipped bit":
        data = bytearray(model.read_bytes())
        data[-1] ^= 1
        model.write_bytes(data)
    elif kind == "state cut off":
        (path / "state.safetensors").write_bytes(b"")
    elif kind == "no manifest":
        (path / "manifest.json").unlink()
    else:
        model.unlink()


@pytest.mark.parametrize("kind", ["flipped bit", "state cut off", "no manifest", "no model"])
def test_a_damaged_newest_set_is_an_error_unless_older_ones_are_allowed(tmp_path: Path, kind: str) -> None:
    write(tmp_path, 80)
    damage(write(tmp_path, 88), kind)
    for name in ("latest", str(tmp_path), str(tmp_path / "checkpoints")):
        with pytest.raises(CheckpointError, match=r"newest checkpoint is damaged(.|\n)*step-88") as caught:
            find_source(name, tmp_path)
        assert "--allow-older uses step-80" in caught.value.hint
        source = find_source(name, tmp_path, allow_older=True)
        assert value_of(source) == 80
        facts = source.facts(tmp_path)
        assert (facts["step"], facts["file"]) == (80, "checkpoints/step-80")
        assert [one["checkpoint"] for one in facts["skipped"]] == ["step-88"]
        assert "step-88" in facts["skipped"][0]["reason"]


def test_a_damaged_set_older_than_the_newest_does_not_matter(tmp_path: Path) -> None:
    damage(write(tmp_path, 1), "flipped bit")
    write(tmp_path, 2)
    source = find_source("latest", tmp_path)
    assert (value_of(source), source.skipped) == (2, ())


def test_without_any_complete_set_nothing_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        find_source("latest", tmp_path)
    damage(write(tmp_path, 3), "no model")
    with pytest.raises(CheckpointError, match="no older one is complete"):
        find_source("latest", tmp_path)
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        find_source("latest", tmp_path, allow_older=True)


def test_a_set_that_is_named_must_be_whole_whatever_is_allowed(tmp_path: Path) -> None:
    path = write(tmp_path, 4)
    damage(path, "flipped bit")
    for name in ("step-4", "checkpoints/step-4", str(path), str(path / "model.safetensors")):
        with pytest.raises(CheckpointError, match="is not what the manifest says"):
            find_source(name, tmp_path, allow_older=True)


def test_every_name_of_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, 88)
    write(tmp_path, 90)
    (tmp_path / "checkpoints" / "best.json").write_text(json.dumps({"step": 88, "top1": 0.9}))
    for name in ("step-88", "checkpoints/step-88", "best", str(path), str(path / "model.safetensors")):
        assert value_of(find_source(name, tmp_path)) == 88, name
    monkeypatch.chdir(tmp_path)
    assert value_of(find_source("checkpoints/step-88", None)) == 88
    assert value_of(find_source(".", None)) == 90
    for name in ("step-7", "nothing"):
        with pytest.raises(CheckpointError, match=f"there is no checkpoint {name}"):
            find_source(name, tmp_path)
    with pytest.raises(CheckpointError, match="needs a run directory"):
        find_source("latest", None)


def test_best_json_that_names_nothing(tmp_path: Path) -> None:
    write(tmp_path, 1)
    with pytest.raises(CheckpointError, match="names no checkpoint"):
        find_source("best", tmp_path)
    (tmp_path / "checkpoints" / "best.json").write_text(json.dumps({"step": 9, "top1": 0.9}))
    with pytest.raises(CheckpointError, match="step-9 is not a complete checkpoint"):
        find_source("best", tmp_path)


def test_averaged_weights_are_used_where_there_are_some(tmp_path: Path) -> None:
    path = write(tmp_path, 5, ema=50)
    for name in ("latest", "step-5", str(path), str(path / "model.safetensors"), str(tmp_path)):
        found = [find_source(name, tmp_path, parameters=kind) for kind in (None, "ema", "raw")]
        assert [value_of(source) for source in found] == [50, 50, 5]
        assert [source.facts()["parameters"] for source in found] == ["ema", "ema", "raw"]
    write(tmp_path, 6)
    assert find_source("latest", tmp_path).parameters == "raw"
    with pytest.raises(CheckpointError, match="has no averaged weights"):
        find_source("latest", tmp_path, parameters="ema")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".ckpt"])
def test_a_file_of_weights(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("mindspore")
    path = tmp_path / "weights" / f"net{suffix}"
    path.parent.mkdir()
    write_weights(weights_of(7), path)
    for name in (str(path), str(path.parent)):  # the file, or a folder with no other one
        source = find_source(name, tmp_path)
        assert value_of(source) == 7
        assert source.facts(tmp_path)["file"] == f"weights/net{suffix}"
        assert source.facts()["source"] == "file"
    with pytest.raises(CheckpointError, match="has no averaged weights"):
        find_source(str(path), None, parameters="ema")
    write_weights(weights_of(8), path.parent / "other.safetensors")
    with pytest.raises(CheckpointError, match="holds 2 files of weights"):
        find_source(str(path.parent), None)


def test_a_recipe_for_weights_without_one(tmp_path: Path) -> None:
    write_weights(weights_of(1), tmp_path / "net.safetensors")
    recipe = recipe_of(find_source(str(tmp_path / "net.safetensors"), None), ["batch_size=5"])
    assert (recipe.arch, recipe.num_classes, recipe.side, recipe.batch_size) == ("vit_digits", 3, 32, 5)
    assert recipe.mean == (0.5, 0.5, 0.5), "that of the recipe which comes with the architecture"
    kept = {"arch": "vit_digits", "num_classes": 3, "mean": [0.1, 0.2, 0.3]}
    write(tmp_path, 1, recipe=kept)
    assert recipe_of(find_source("latest", tmp_path), []).mean == (0.1, 0.2, 0.3)
    with pytest.raises(RecipeError, match="batch_size"):
        recipe_of(find_source("latest", tmp_path), ["batch_size=0"])
    write_weights({"a": np.zeros(2, np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="not those of a whole TNT or ViT"):
        recipe_of(find_source(str(tmp_path / "other.safetensors"), None), [])


def test_both_kinds_of_weights_in_a_pytorch_file(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    kinds = {"state_dict": 1.0, "state_dict_ema": 2.0}
    torch.save({key: {"w": torch.full((2,), value)} for key, value in kinds.items()}, tmp_path / "net.pth")
    found = [find_source(str(tmp_path / "net.pth"), None, parameters=kind) for kind in (None, "ema", "raw")]
    assert [value_of(source) for source in found] == [2, 2, 1]
    assert [source.parameters for source in found] == ["ema", "ema", "raw"]
