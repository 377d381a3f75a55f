"""PyTorch's files (.pth, .pt, .bin) without PyTorch, and without running anything that is in them.

Such a file is a ZIP archive with a pickle, `data.pkl`, and one entry of bytes per tensor storage; before PyTorch 1.6 it was pickles
with the bytes after them. A pickle may name any
function to call. Here only tensors and ordered dictionaries are made; every other class, as argparse.Namespace in timm's training
checkpoints, becomes an `Inert` that keeps nothing and calls nothing.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

BFLOAT16 = "bfloat16"
_MAGIC = 0x1950A86A20F9469CFC6C  # how the older format begins
_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": BFLOAT16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class Inert:
    """Stands for an object of any other class."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass

    def append(self, _item: Any) -> None:
        pass

    def extend(self, _items: Any) -> None:
        pass

    def __setitem__(self, _key: Any, _item: Any) -> None:
        pass


def read_torch(path: Path) -> Any:
    """What was saved, with numpy arrays for tensors. Raises ValueError, and what pickle raises for a damaged file."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return _read_flat(file)
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("data.pkl")]
        if len(names) != 1:
            raise ValueError(f"it holds {len(names)} files data.pkl")
        prefix = names[0].removesuffix("data.pkl")
        return _Reader(io.BytesIO(archive.read(names[0])), _Archived(archive, prefix)).load()


def _read_flat(file: BinaryIO) -> Any:
    """The format before PyTorch 1.6: pickles one after the other, then the bytes of all storages.

    The pickle of the content comes before the bytes. So it is read twice, first for the types of the storages.
    """
    if _Reader(file, _Typed()).load() != _MAGIC:
        raise ValueError("it is no file of PyTorch")
    for _ in range(2):  # version of the format, facts of the machine
        _Reader(file, _Typed()).load()
    start, typed = file.tell(), _Typed()
    _Reader(file, typed).load()
    keys = _Reader(file, _Typed()).load()
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        dtype = typed.dtypes.get(key, "")
        if not dtype:
            raise ValueError(f"storage {key} has no type")
        size = count * np.dtype(np.uint16 if dtype == BFLOAT16 else dtype).itemsize
        typed.values[key] = _values(file.read(size), dtype, key, count)
    file.seek(start)
    return _Reader(file, typed).load()


def _values(data: bytes, dtype: str, key: str, count: int) -> np.ndarray:
    """The flat values of a storage that has `count` of them."""
    values = np.frombuffer(data, np.uint16 if dtype == BFLOAT16 else dtype)
    if len(values) < count:
        raise ValueError(f"storage {key} holds {len(values)} of {count} values")
    return widened(values) if dtype == BFLOAT16 else values


class _Archived:
    """Storages of a ZIP archive, each read once."""

    def __init__(self, archive: zipfile.ZipFile, prefix: str) -> None:
        self._archive, self._prefix = archive, prefix
        self._found: dict[str, np.ndarray] = {}

    def get(self, key: str, dtype: str, count: int) -> np.ndarray:
        if key not in self._found:
            data = self._archive.read(f"{self._prefix}data/{key}")
            self._found[key] = _values(data, dtype, key, count)
        return self._found[key]


class _Typed:
    """Storages whose types are noted while their values are not known yet: no values then."""

    def __init__(self) -> None:
        self.dtypes: dict[str, str] = {}
        self.values: dict[str, np.ndarray] = {}

    def get(self, key: str, dtype: str, _count: int) -> np.ndarray | None:
        self.dtypes[key] = dtype
        return self.values.get(key)


def widened(values: np.ndarray) -> np.ndarray:
    """float32 of bfloat16 values, which numpy does not know and which come here as uint16: their upper half."""
    return (values.astype(np.uint32) << 16).view(np.float32)


class _Storage:
    """The type of a storage while the pickle is read."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype


class _Reader(pickle.Unpickler):
    def __init__(self, file: BinaryIO, storages: _Archived | _Typed) -> None:
        super().__init__(file)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        """The few things that are made; nothing is ever imported."""
        if module == "torch" and name in _DTYPES:
            return _Storage(_DTYPES[name])
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): _parameter,
            ("collections", "OrderedDict"): OrderedDict,
        }
        return known.get((module, name), Inert)

    def persistent_load(self, pid: Any) -> np.ndarray | None:
        """The flat values of one storage; None where they come later in the file."""
        _, kind, key, _, count, *_ = pid
        if not isinstance(kind, _Storage):
            raise ValueError(f"the values of storage {key} have an unknown type")
        return self._storages.get(key, kind.dtype, count)


def _tensor(
    storage: np.ndarray | None, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_rest: Any
) -> np.ndarray | None:
    """A copy of the part of a storage that a tensor shows."""
    if storage is None:
        return None
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if 0 in size:
        return np.zeros(size, storage.dtype)
    if min(offset, *stride, 0) < 0 or last >= len(storage):
        raise ValueError(f"a tensor of shape {tuple(size)} goes beyond its storage")
    strides = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides).copy()


def _parameter(value: np.ndarray | None, *_rest: Any) -> np.ndarray | None:
    return value
