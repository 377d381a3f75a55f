"""The format of a file of weights: its suffix and its content must agree."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from vitmodels.errors import CheckpointError
from vitmodels.nets.weightfiles import WRITABLE, format_of, read_weights, write_weights

pytest.importorskip("mindspore")
WEIGHTS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(3, np.float32)}


@pytest.mark.parametrize("suffix", WRITABLE)
def test_what_is_written_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"net{suffix}"
    write_weights(WEIGHTS, path)
    found = read_weights(path).weights
    assert found.keys() == WEIGHTS.keys()
    assert all(np.array_equal(value, WEIGHTS[name]) for name, value in found.items())
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444
    write_weights(WEIGHTS, path)  # over the one that is there


@pytest.mark.parametrize(
    ("written", "named", "content"),
    [
        (".safetensors", ".pth", "safetensors"),
        (".safetensors", ".ckpt", "safetensors"),
        (".npz", ".safetensors", "NumPy"),
        (".npz", ".pth", "NumPy"),
    ],
)
def test_a_name_that_says_another_format(tmp_path: Path, written: str, named: str, content: str) -> None:
    write_weights(WEIGHTS, tmp_path / f"net{written}")
    shutil.move(tmp_path / f"net{written}", tmp_path / f"net{named}")
    with pytest.raises(CheckpointError, match=f"is a {content} file, but its name says") as caught:
        read_weights(tmp_path / f"net{named}")
    assert caught.value.hint == f"rename it to net{written}"


def test_a_pytorch_file_called_ckpt(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.ckpt", "w") as archive:
        archive.writestr("net/data.pkl", b"")
    with pytest.raises(CheckpointError, match=r"is a PyTorch file, but its name says MindSpore"):
        format_of(tmp_path / "net.ckpt")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".ckpt"])
@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"hello"], ids=["empty", "bytes", "text"])
def test_a_file_that_is_nothing_is_one_error(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="can't read weights from"):
        read_weights(path)


def test_missing_files_and_unknown_suffixes(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        read_weights(tmp_path / "net.npz")
    (tmp_path / "net.txt").write_text("x")
    with pytest.raises(CheckpointError, match="can't read weights from") as caught:
        read_weights(tmp_path / "net.txt")
    assert ".safetensors, .npz, .ckpt" in caught.value.hint
    with pytest.raises(CheckpointError, match=r"can't write weights to net\.pth"):
        write_weights(WEIGHTS, tmp_path / "net.pth")
