"""Safetensors files: bfloat16, which numpy does not know, becomes float32; a net in several files is read by its index."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from vitmodels.errors import CheckpointError
from vitmodels.nets.torchfile import widened

INDEX = ".safetensors.index.json"
"""How the name of the index of several files ends."""


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of a file."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        names, metadata = list(file.keys()), file.metadata() or {}
        kinds = {name: file.get_slice(name).get_dtype() for name in names}
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


def read_sharded(index: Path) -> dict[str, np.ndarray]:
    """All arrays that an index names. Raises CheckpointError when one of its files is missing or lacks an array."""
    places = json.loads(index.read_bytes()).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise CheckpointError(f"{index} has no weight_map")
    arrays: dict[str, np.ndarray] = {}
    for name in sorted({str(one) for one in places.values()}):
        path = index.parent / name
        if Path(name).name != name or not path.is_file():
            raise CheckpointError(
                f"{index} names {name}, which is not there", hint="copy all of its files into one folder"
            )
        arrays.update(read_safetensors(path)[0])
    if missing := [name for name in places if name not in arrays]:
        raise CheckpointError(f"{index} names {missing[0]}, which is in none of its files")
    return arrays
