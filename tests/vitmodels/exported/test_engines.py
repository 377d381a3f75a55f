"""MindSpore Lite at its edge: a stand-in with the calls of its Python interface, since it is not on PyPI."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vitmodels.errors import ExportError, NotSupported
from vitmodels.exported import engines
from vitmodels.exported.engines import engine_of, first_line, load_exported


class FakeTensor:
    def __init__(self, shape: list[int]) -> None:
        self.shape = shape
        self.data = np.empty(0)

    def set_data_from_numpy(self, data: np.ndarray) -> None:
        assert list(data.shape) == self.shape and data.flags["C_CONTIGUOUS"]
        self.data = data

    def get_data_to_numpy(self) -> np.ndarray:
        return self.data


class FakeModel:
    """Built for batch 1; answers with the sum of each image."""

    def __init__(self) -> None:
        self.inputs = [FakeTensor([1, 3, 2, 2])]

    def build_from_file(self, path: str, kind: str, context: Any) -> None:
        if Path(path).read_bytes() != b"good":
            raise RuntimeError("\n----\nbuild failed\nmore")
        assert (kind, context.target, context.cpu.thread_num) == ("MINDIR", ["ascend"], 3)

    def get_inputs(self) -> list[FakeTensor]:
        return self.inputs

    def resize(self, inputs: list[FakeTensor], shapes: list[list[int]]) -> None:
        assert inputs is self.inputs
        self.inputs = [FakeTensor(shapes[0])]

    def predict(self, inputs: list[FakeTensor]) -> list[FakeTensor]:
        answer = FakeTensor([inputs[0].shape[0], 1])
        answer.data = inputs[0].data.sum(axis=(1, 2, 3))[:, None]
        return [answer]


def test_lite_runs_on_its_device_at_any_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(
        Context=lambda: SimpleNamespace(cpu=SimpleNamespace()),
        Model=FakeModel,
        ModelType=SimpleNamespace(MINDIR="MINDIR"),
    )
    monkeypatch.setitem(sys.modules, "mindspore_lite", fake)
    (tmp_path / "net.mindir").write_bytes(b"good")
    predict = load_exported(tmp_path / "net.mindir", engine="mindspore-lite", device="ascend", threads=3)
    for batch in (1, 3, 2):
        images = np.arange(batch * 12, dtype=np.float32).reshape(batch, 2, 2, 3).transpose(0, 3, 1, 2)
        assert np.array_equal(predict(images)[:, 0], images.sum(axis=(1, 2, 3)))
    (tmp_path / "net.mindir").write_bytes(b"bad")
    with pytest.raises(Exception, match="build failed"):
        load_exported(tmp_path / "net.mindir", engine="mindspore-lite", device="ascend")


@pytest.mark.parametrize(
    ("name", "installed", "device", "wanted"),
    [
        ("net.mindir", {"mindspore", "mindspore-lite"}, None, "mindspore"),
        ("net.mindir", {"mindspore", "mindspore-lite"}, "ascend", "mindspore-lite"),
        ("net.mindir", {"mindspore"}, "ascend", "mindspore"),
        ("net.mindir", {"mindspore-lite", "onnxruntime"}, "cpu", "mindspore-lite"),
        ("net.ms", {"mindspore", "mindspore-lite"}, None, "mindspore-lite"),
        ("net.onnx", {"onnxruntime", "openvino"}, None, "onnxruntime"),
        ("net.int8.onnx", {"mindspore", "openvino"}, "cpu", "openvino"),
    ],
)
def test_the_engine_is_one_that_is_there(
    name: str, installed: set[str], device: str | None, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "is_installed", lambda engine: engine in installed)
    assert engine_of(Path(name), device=device) == wanted


def test_what_no_engine_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "is_installed", lambda engine: engine == "onnxruntime")
    for name, engine, device, message in (
        ("net.mindir", "auto", None, "no engine for net.mindir is installed"),
        ("net.onnx", "auto", "ascend", "onnxruntime runs on CPU only"),
        ("net.onnx", "openvino", "ascend", "openvino runs on CPU only"),
        ("net.onnx", "mindspore", None, "can't run net.onnx with mindspore"),
        ("net.air", "auto", None, "can't run net.air with any engine"),
    ):
        with pytest.raises(NotSupported, match=message):
            engine_of(Path(name), engine, device)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_runtimes_of_onnx_at_any_batch(engine: str, tmp_path: Path) -> None:
    """A file with an open batch and one with a fixed batch of 2, whose answers are the sums of the images."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip(engine, reason=f"{engine} is not installed: that it runs our files is NOT tested")
    for batch in ("batch", 2):
        ends = [
            onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [batch, 3, 2, 2]),
            onnx.helper.make_tensor_value_info("sums", onnx.TensorProto.FLOAT, [batch]),
        ]
        node = onnx.helper.make_node("ReduceSum", ["images", "axes"], ["sums"], keepdims=0)
        axes = onnx.numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes")
        graph = onnx.helper.make_graph([node], "net", ends[:1], ends[1:], [axes])
        opsets = [onnx.helper.make_opsetid("", 20)]
        onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "net.onnx")
        predict = load_exported(tmp_path / "net.onnx", engine, threads=1)
        for count in (1, 2, 5):
            images = np.arange(count * 12, dtype=np.float32).reshape(count, 3, 2, 2)
            answers = predict(images)
            predict(images + 1)  # must not change the first answers
            assert np.array_equal(answers, images.sum(axis=(1, 2, 3)))
    (tmp_path / "net.onnx").write_bytes(b"no model")
    with pytest.raises(ExportError, match="can't read"):
        load_exported(tmp_path / "net.onnx", engine)


def test_first_line_of_a_long_message() -> None:
    assert first_line(RuntimeError("\n---\n  what happened \n---\nstack")) == "what happened"
    assert first_line(RuntimeError("")) == "RuntimeError"
