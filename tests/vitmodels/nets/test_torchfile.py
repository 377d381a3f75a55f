"""PyTorch's files read without PyTorch: what is in them, and that nothing of it runs."""

from __future__ import annotations

import argparse
import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitmodels.errors import CheckpointError
from vitmodels.nets.peers import unwrapped
from vitmodels.nets.weightfiles import read_weights

Write = Callable[[Path, Any], Path]
STORAGES = {"<f4": "FloatStorage", "<f2": "HalfStorage", "<i8": "LongStorage", "<u2": "BFloat16Storage"}


class Global:
    """A name that a pickle refers to without its module being there."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Writer(pickle._Pickler):  # type: ignore[name-defined]  # the one in Python can be extended
    """Writes arrays the way PyTorch writes tensors."""

    def __init__(self, output: io.BytesIO) -> None:
        super().__init__(output, protocol=2)
        self.storages: list[np.ndarray] = []

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, Global):
            self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        elif isinstance(value, np.ndarray):
            kind = Global("torch", STORAGES[value.dtype.str])
            persistent = ("storage", kind, str(len(self.storages)), "cpu", value.size)
            self.storages.append(value)
            strides = tuple(step // value.itemsize for step in value.strides)
            self.save(Global("torch._utils", "_rebuild_tensor_v2"))
            self.write(pickle.MARK)
            self.save(persistent)
            self.write(pickle.BINPERSID)
            for part in (0, value.shape, strides, False, OrderedDict()):
                self.save(part)
            self.write(pickle.TUPLE + pickle.REDUCE)
        else:
            super().save(value, save_persistent_id)


def write_torch(path: Path, content: Any) -> Path:
    output = io.BytesIO()
    writer = Writer(output)
    writer.dump(content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", output.getvalue())
        for number, value in enumerate(writer.storages):
            archive.writestr(f"net/data/{number}", value.tobytes())
    return path


def write_flat(path: Path, content: Any) -> Path:
    """The same in the format before PyTorch 1.6."""
    output = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(part, output, protocol=2)
    writer = Writer(output)
    writer.dump(content)
    pickle.dump([str(number) for number in range(len(writer.storages))], output, protocol=2)
    for value in writer.storages:
        output.write(value.size.to_bytes(8, "little") + value.tobytes())
    path.write_bytes(output.getvalue())
    return path


WRITERS = pytest.mark.parametrize("write", [write_torch, write_flat])


def values(number: float) -> np.ndarray:
    return np.full((2, 3), number, np.float32)


@WRITERS
def test_a_training_checkpoint_of_timm(tmp_path: Path, write: Write) -> None:
    content = {
        "epoch": 3,
        "arch": "vit_small_patch16_224",
        "state_dict": OrderedDict(w=values(1)),
        "optimizer": {"state": {0: {"exp_avg": values(9)}}, "param_groups": [{"lr": 0.1}]},
        "args": argparse.Namespace(lr=0.1, model="vit"),
        "state_dict_ema": OrderedDict(w=values(2)),
    }
    found = read_weights(write(tmp_path / "net.pth.tar", content))
    assert found.weights["w"].tolist() == values(1).tolist()
    assert found.averages["w"].tolist() == values(2).tolist()


@WRITERS
@pytest.mark.parametrize(
    "path",
    [
        ("module",),
        ("net",),
        ("params",),
        ("model_state_dict",),
        ("network",),
        ("backbone",),
        ("model", "state_dict"),
    ],
)
def test_weights_lie_under_any_name(tmp_path: Path, write: Write, path: tuple[str, ...]) -> None:
    """With what else programs save beside them, an array at the top included."""
    content: Any = OrderedDict(w=values(1), v=values(3))
    for name in reversed(path):
        content = {name: content}
    content |= {
        "epoch": 3,
        "best": np.array([0.5], np.float32),
        "optimizer": {"state": {0: {"m": values(9)}}},
    }
    found = read_weights(write(tmp_path / "net.pth", content))
    assert {name: value[0, 0] for name, value in found.weights.items()} == {"w": 1, "v": 3}
    assert not found.averages


@WRITERS
@pytest.mark.parametrize(
    "name", ["state_dict_ema", "model_ema", "ema", "ema_state_dict", "model_ema_state_dict", "params_ema"]
)
def test_averages_are_known_by_their_name(tmp_path: Path, write: Write, name: str) -> None:
    content = {"net": {"w": values(1)}, name: {"module.w": values(2), "n_averaged": np.array(7, np.int64)}}
    found = read_weights(write(tmp_path / "net.pth", content))
    assert found.weights["w"].tolist() == values(1).tolist()
    assert unwrapped(found.averages)["w"].tolist() == values(2).tolist()
    assert list(unwrapped(found.averages)) == ["w"]
    alone = read_weights(write(tmp_path / "net.pth", {name: {"w": values(2)}}))
    assert alone.weights["w"].tolist() == values(2).tolist()


@WRITERS
def test_of_several_nets_none_is_guessed(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "net.pth", {"student": {"w": values(1)}, "teacher": {"w": values(2)}})
    with pytest.raises(CheckpointError, match="several nets: student, teacher"):
        read_weights(path)


@WRITERS
def test_narrow_and_whole_tensors(tmp_path: Path, write: Write) -> None:
    turned = np.arange(6, dtype=np.float32).reshape(2, 3)
    content = {
        "half": np.array([1.5], np.float16),
        "bfloat16": np.array([0x3FC0, 0xC000], np.uint16),
        "turned": turned,
        "scalar": np.array(7, np.int64),
    }
    found = read_weights(write(tmp_path / "net.pt", content)).weights
    assert found["half"].tolist() == [1.5]
    assert found["bfloat16"].tolist() == [1.5, -2.0]
    assert found["turned"].tolist() == turned.tolist()
    assert found["scalar"].shape == ()


class Attack:
    """Would create a file if a pickle were trusted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@WRITERS
def test_nothing_in_a_file_runs(tmp_path: Path, write: Write) -> None:
    mark = tmp_path / "ran"
    found = read_weights(write(tmp_path / "net.pth", {"w": values(1), "bad": Attack(mark)}))
    assert list(found.weights) == ["w"]
    assert not mark.exists()


def test_damaged_and_other_files_are_one_error(tmp_path: Path) -> None:
    path = write_torch(tmp_path / "net.pth", {"w": values(1)})
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", parts["net/data.pkl"])
        archive.writestr("net/data/0", parts["net/data/0"][:8])
    with pytest.raises(CheckpointError, match="storage 0 holds 2 of 6 values"):
        read_weights(path)
    for bad in (whole[: len(whole) // 2], pickle.dumps({"a": 1}, protocol=2)):
        path.write_bytes(bad)
        with pytest.raises(CheckpointError, match=r"net\.pth"):
            read_weights(path)
    flat = write_flat(path, {"w": values(1)}).read_bytes()
    path.write_bytes(flat[:-4])
    with pytest.raises(CheckpointError, match="storage 0 holds 5 of 6 values"):
        read_weights(path)
    with pytest.raises(CheckpointError, match="no weights"):
        read_weights(write_torch(tmp_path / "whole.pth", {"epoch": 1}))
    with pytest.raises(CheckpointError, match="no dictionary of weights"):
        read_weights(write_torch(tmp_path / "list.pth", [1, 2]))
