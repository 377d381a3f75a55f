"""Safetensors files: bfloat16, which numpy does not know, becomes float32."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from vitmodels.errors import CheckpointError
from vitmodels.nets.shapes import FLOATS
from vitmodels.nets.torchfile import widened

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
