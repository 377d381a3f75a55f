"""MindSpore Lite at its edge: a stand-in with the calls of its Python interface, since it is not on PyPI."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vitmodels.exported.engines import first_line, load_exported


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
        assert (kind, context.target) == ("MINDIR", ["ascend"])

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
        Context=SimpleNamespace, Model=FakeModel, ModelType=SimpleNamespace(MINDIR="MINDIR")
    )
    monkeypatch.setitem(sys.modules, "mindspore_lite", fake)
    (tmp_path / "net.mindir").write_bytes(b"good")
    predict = load_exported(tmp_path / "net.mindir", engine="lite", device="ascend")
    for batch in (1, 3, 2):
        images = np.arange(batch * 12, dtype=np.float32).reshape(batch, 2, 2, 3).transpose(0, 3, 1, 2)
        assert np.array_equal(predict(images)[:, 0], images.sum(axis=(1, 2, 3)))
    (tmp_path / "net.mindir").write_bytes(b"bad")
    with pytest.raises(Exception, match="build failed"):
        load_exported(tmp_path / "net.mindir", engine="lite", device="ascend")


def test_first_line_of_a_long_message() -> None:
    assert first_line(RuntimeError("\n---\n  what happened \n---\nstack")) == "what happened"
    assert first_line(RuntimeError("")) == "RuntimeError"
