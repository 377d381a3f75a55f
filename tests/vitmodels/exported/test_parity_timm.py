"""ONNX files of nets at full size against timm; skipped where timm and PyTorch are not installed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.vitmodels.nets.timm_peer import import_timm
from vitmodels.exported.engines import load_exported
from vitmodels.exported.write import export_model
from vitmodels.nets.registry import create_model
from vitmodels.nets.weights import load_weights

pytest.importorskip("mindspore")
torch = pytest.importorskip("torch")
timm = import_timm()

ENGINES = ["onnxruntime", "openvino"]
Written = tuple[Path, Any]


@pytest.fixture(scope="module", params=["vit_base_patch16_224", "tnt_s_patch16_224"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A file with timm's weights, and timm's net."""
    torch.manual_seed(1)
    theirs = timm.create_model(request.param, num_classes=1000).eval()
    ours = create_model(request.param, num_classes=1000)
    load_weights(ours, {name: value.detach().numpy() for name, value in theirs.named_parameters()})
    folder = tmp_path_factory.mktemp("export")
    (file,) = export_model(ours, request.param, folder, ("ONNX",))
    return folder / file.name, theirs


@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_answers_as_timm_at_any_batch(written: Written, engine: str) -> None:
    pytest.importorskip(engine)
    path, theirs = written
    predict = load_exported(path, engine)
    for batch in (1, 3):
        x = torch.randn(batch, 3, 224, 224)
        with torch.no_grad():
            wanted = theirs(x).numpy()
        found = predict(x.numpy())
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() < 1e-4 * max(1.0, np.abs(wanted).max())
        assert np.array_equal(found.argmax(1), wanted.argmax(1))


def test_a_file_has_an_open_batch_and_fused_operators(written: Written) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(written[0])
    onnx.checker.check_model(model, full_check=True)
    assert next(one.version for one in model.opset_import if one.domain == "") >= 17
    assert {one.domain for one in model.opset_import} <= {"", "ai.onnx"}
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    for value, sizes in ((inferred.graph.input[0], [3, 224, 224]), (inferred.graph.output[0], [1000])):
        batch, *others = value.type.tensor_type.shape.dim
        assert batch.dim_param
        assert [one.dim_value for one in others] == sizes
    kinds = {node.op_type for node in model.graph.node}
    assert {"LayerNormalization", "Softmax", "Gelu"} <= kinds
    assert kinds.isdisjoint({"ReduceMean", "Sqrt", "Pow"}), "LayerNormalization is one node"
