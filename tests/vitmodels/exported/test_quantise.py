"""int8 files: smaller, nearly as right, and export.json says by how much."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.vitmodels.nets.golden_nets import make_net, read_golden
from vitmodels.errors import DataError
from vitmodels.export import main
from vitmodels.exported.engines import load_exported
from vitmodels.exported.index import read_index
from vitmodels.exported.prepare import find_images
from vitmodels.exported.quantise import check_labels, export_int8

pytestmark = pytest.mark.system

pytest.importorskip("mindspore")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

PREPROCESS = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "crop_pct": 1.0, "interpolation": "bicubic"}


def fill(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("ant", "bee", "cat"):
        (root / name).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


@pytest.mark.parametrize("family", ["vit", "tnt"])
def test_int8_file_and_its_drop(family: str, tmp_path: Path) -> None:
    from vitmodels.exported.write import export_model
    from vitmodels.nets.weights import load_weights

    golden, net = read_golden(family), make_net(family)
    load_weights(net, golden.weights)
    folder = tmp_path / "export"
    [exported] = export_model(net, family, folder, ("ONNX",), step=7, preprocess=PREPROCESS)
    images = find_images(fill(tmp_path / "data"))
    check_labels(images)
    written, drop = export_int8(folder, exported, images)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["export.json", f"{family}.onnx", f"{family}.int8.onnx"]
    )
    assert drop.images == 12 and 0 <= drop.top1_int8 <= 1
    assert drop.drop == pytest.approx(drop.top1_float32 - drop.top1_int8, abs=1e-6)
    entries = {entry["name"]: entry for entry in read_index(folder)}
    assert entries[f"{family}.onnx"]["quantised"] is None
    entry = entries[written.name]
    assert (entry["step"], entry["quantised"]["drop"]) == (7, drop.drop)
    assert (entry["size"], entry["input_shape"]) == (written.size, [None, 3, 32, 32])
    nodes = onnx.load(folder / written.name).graph.node
    kinds = {node.op_type for node in nodes}
    assert "MatMulInteger" in kinds and "Gemm" not in kinds, "every dense layer is int8"
    exact, quantised = (load_exported(folder / name)(golden.x) for name in (exported.name, written.name))
    assert 0 < np.abs(quantised - exact).max() < 0.05 * np.abs(exact).max()


def test_what_int8_needs_is_said_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (20, 30)).save(tmp_path / "grey.png")
    with pytest.raises(DataError, match="have no labels"):
        check_labels(find_images(tmp_path))
    arguments = ["--weights", str(tmp_path / "none.ckpt"), "--int8", str(tmp_path)]
    assert main(arguments) == 2
    assert "add ONNX to --format" in capsys.readouterr().err
    assert main([*arguments, "--format", "ONNX"]) == 1
    assert "have no labels" in capsys.readouterr().err
