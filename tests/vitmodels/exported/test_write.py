import json
import stat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.vitmodels.nets.golden_nets import make_net, read_golden
from vitmodels.errors import ExportError, NotSupported, UsageError
from vitmodels.exported.engines import fixed_batches, load_exported
from vitmodels.exported.index import read_index
from vitmodels.exported.write import export_model, parse_formats
from vitmodels.nets.weights import load_weights

pytestmark = pytest.mark.system

ms = pytest.importorskip("mindspore")

PREPROCESS = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "crop_pct": 1.0, "interpolation": "bicubic"}


@pytest.fixture(scope="module", params=["vit", "tnt"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A tiny net with timm's weights, written as MINDIR and ONNX."""
    golden = read_golden(request.param)
    net = make_net(request.param)
    load_weights(net, golden.weights)
    folder = tmp_path_factory.mktemp("export")
    files = export_model(net, request.param, folder, ("MINDIR", "ONNX"), step=12, preprocess=PREPROCESS)
    return SimpleNamespace(golden=golden, net=net, folder=folder, files=files, arch=request.param)


@pytest.mark.parametrize("suffix", ["mindir", "onnx"])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_exported_file_answers_as_timm_at_any_batch(
    exported: SimpleNamespace, suffix: str, batch: int
) -> None:
    predict = load_exported(exported.folder / f"{exported.arch}.{suffix}")
    x, y = (np.resize(value, (batch, *value.shape[1:])) for value in (exported.golden.x, exported.golden.y))
    found = predict(x)
    assert found.shape == y.shape
    assert np.abs(found - y).max() < 1e-4


def test_files_are_complete_and_readable_by_others(exported: SimpleNamespace) -> None:
    names = sorted(path.name for path in exported.folder.iterdir())
    assert names == sorted([f"{exported.arch}.mindir", f"{exported.arch}.onnx", "export.json"])
    for one in exported.files:
        path = exported.folder / one.name
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        assert path.stat().st_size == one.size
    entries = json.loads((exported.folder / "export.json").read_text())["files"]
    assert [entry["format"] for entry in entries] == ["MINDIR", "ONNX"]
    assert [entry["input_shape"] for entry in entries] == [[None, 3, 32, 32]] * 2
    assert all(entry["step"] == 12 and entry["preprocess"] == PREPROCESS for entry in entries)
    assert all(len(entry["sha256"]) == 64 for entry in entries)


def test_index_keeps_files_of_earlier_exports(tmp_path: Path) -> None:
    net = make_net("vit")
    export_model(net, "vit", tmp_path, ("MINDIR",), step=1)
    (tmp_path / "gone.onnx").write_bytes(b"x")
    index = json.loads((tmp_path / "export.json").read_text())
    index["files"].append({**index["files"][0], "name": "gone.onnx"})
    (tmp_path / "export.json").write_text(json.dumps(index))
    (tmp_path / "gone.onnx").unlink()
    export_model(net, "vit", tmp_path, ("ONNX",), step=2)
    assert [(entry["name"], entry["step"]) for entry in read_index(tmp_path)] == [
        ("vit.mindir", 1),
        ("vit.onnx", 2),
    ]


def test_air_is_refused_without_ascend_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(NotSupported, match="AIR can be exported only on a machine with an Ascend NPU"):
        export_model(make_net("vit"), "vit", tmp_path / "export", ("MINDIR", "AIR"))
    assert not (tmp_path / "export").exists()


def test_a_failed_export_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "vit.mindir").write_text("old")
    net = make_net("vit", operators="mindspore")
    net.tokens = (-1, 16, 24)  # 17 tokens don't fit into rows of 16
    net.head.weight = ms.Parameter(ms.Tensor(np.zeros((5, 23), np.float32)), name="head.weight")
    with pytest.raises(ExportError, match="can't export vit as MINDIR"):
        export_model(net, "vit", tmp_path, ("MINDIR",))
    assert [path.name for path in tmp_path.iterdir()] == ["vit.mindir"]
    assert (tmp_path / "vit.mindir").read_text() == "old"


def test_formats() -> None:
    assert parse_formats("mindir, ONNX,MINDIR") == ("MINDIR", "ONNX")
    with pytest.raises(UsageError, match="unknown export format TORCH, known: MINDIR, ONNX, AIR"):
        parse_formats("MINDIR,torch")
    with pytest.raises(UsageError):
        parse_formats(" , ")


def test_files_that_cannot_be_run(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="there is no file"):
        load_exported(tmp_path / "none.mindir")
    for name, error in (("bad.onnx", ExportError), ("bad.mindir", ExportError), ("bad.air", NotSupported)):
        (tmp_path / name).write_bytes(b"not a model")
        with pytest.raises(error):
            load_exported(tmp_path / name)
    with pytest.raises(NotSupported, match="MindSpore Lite is not installed"):
        load_exported(tmp_path / "bad.mindir", engine="mindspore-lite")
    with pytest.raises(NotSupported):
        load_exported(tmp_path / "bad.onnx", engine="mindspore")


def test_pieces_of_a_fixed_batch() -> None:
    images = np.arange(1, 22, dtype=np.float32).reshape(7, 3, 1, 1)
    pieces = fixed_batches(images, 3)
    assert [len(piece) for piece in pieces] == [3, 3, 3]
    assert np.array_equal(np.concatenate(pieces)[:7], images)
    assert not pieces[-1][1:].any()
    assert [len(piece) for piece in fixed_batches(images[:6], 3)] == [3, 3]
