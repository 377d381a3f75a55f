"""Safetensors files: bfloat16, which numpy does not know, becomes float32 when it is read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from vitmodels.errors import CheckpointError
from vitmodels.nets.shapes import FLOATS
from vitmodels.nets.torchfile import widened

PIECE = 4 << 20
_KINDS = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "int16": "I16",
    "uint16": "U16",
    "float16": "F16",
    "int32": "I32",
    "uint32": "U32",
    "float32": "F32",
    "float64": "F64",
    "int64": "I64",
    "uint64": "U64",
}
"""Types that can be written, in the order in which the format's library puts them: last come first."""
_WIDE = {"F16", "F32", "F64", "BF16", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "BOOL", "C64"}


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of a file."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        names, metadata = list(file.keys()), file.metadata() or {}
        kinds = {name: file.get_slice(name).get_dtype() for name in names}
        if narrower := next((name for name in names if kinds[name] not in _WIDE), ""):
            raise CheckpointError(f"{path}: {narrower} has the type {kinds[narrower]}", hint=FLOATS)
        arrays = {name: file.get_tensor(name) for name in names if kinds[name] != "BF16"}
    narrow = [name for name in names if kinds[name] == "BF16"]
    return {**arrays, **_bfloat16(path, narrow)}, dict(metadata)


def _bfloat16(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    """These arrays by the places that the header states, which `safe_open` has checked."""
    arrays = {}
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        for name in names:
            start, end = header[name]["data_offsets"]
            file.seek(8 + length + start)
            values = np.frombuffer(file.read(end - start), "<u2")
            arrays[name] = widened(values).reshape(header[name]["shape"])
    return arrays


def safetensors_pieces(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> Iterator[memoryview]:
    """The bytes of a file, at most `PIECE` at a time: those of `safetensors.numpy.save`, without a copy of the arrays.

    Metadata keep their order; the library's differs from process to process. Raises CheckpointError for a type that
    the format does not have.
    """
    order = list(_KINDS)
    if unknown := next((name for name, value in arrays.items() if value.dtype.name not in _KINDS), ""):
        kind = arrays[unknown].dtype
        raise CheckpointError(f"{unknown} has the type {kind}, which no safetensors file can hold")
    names = sorted(arrays, key=lambda name: (-order.index(arrays[name].dtype.name), name.encode()))
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in names:
        begin, end = end, end + arrays[name].nbytes
        kind, shape = _KINDS[arrays[name].dtype.name], list(arrays[name].shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield memoryview(len(text).to_bytes(8, "little") + text)
    for name in names:
        content = np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data
        for place in range(0, len(content), PIECE):
            yield content[place : place + PIECE]
