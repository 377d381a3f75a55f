"""Files of weights: .safetensors, .npz, MindSpore's .ckpt, PyTorch's .pth. Arrays keep the names that they have there."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vitmodels.errors import CheckpointError, NotSupported
from vitmodels.nets.safetensorsfile import read_safetensors, safetensors_pieces
from vitmodels.nets.torchfile import read_torch

Weights = dict[str, np.ndarray]
FORMATS = {
    ".safetensors": "safetensors",
    ".npz": "NumPy",
    ".ckpt": "MindSpore",
    ".pth": "PyTorch",
    ".pt": "PyTorch",
    ".bin": "PyTorch",
    ".tar": "PyTorch",
}
SUFFIXES = tuple(FORMATS)
INDEXES = (".safetensors.index.json", ".bin.index.json")
"""How the name of the index of a net in several files ends."""
WRITABLE = (".safetensors", ".npz", ".ckpt")
CLASS_KEYS = ("classes", "class_order")
"""What the metadata of a .safetensors file say of the outputs, as JSON."""
_RAW = ("state_dict", "model", "model_state_dict")
_AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "params_ema", "ema")
"""Names under which programs save the averages of the weights in a PyTorch file."""
_INDEX = "index"
_PICKLE = b"\x80\x02"  # how PyTorch's older format begins


@dataclass(frozen=True)
class Contents:
    """The weights of a file, the averaged ones of a PyTorch file that has both, and what it says of its classes."""

    weights: Weights
    averages: Weights = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)


def format_of(path: Path) -> str:
    """The format of a file by its content. Raises CheckpointError when its suffix says another one."""
    named = _INDEX if path.name.endswith(INDEXES) else FORMATS.get(path.suffix)
    if named is None:
        known = ", ".join((*SUFFIXES, *INDEXES))
        raise CheckpointError(
            f"can't read weights from {path}", hint=f"the file's name must end with one of {known}"
        )
    try:
        content = _content_of(path)
    except OSError as error:
        raise CheckpointError(f"can't read weights from {path}: {error.strerror}") from error
    if content and named not in (content, _INDEX):
        fitting = next(suffix for suffix, kind in FORMATS.items() if kind == content)
        raise CheckpointError(
            f"{path} is a {content} file, but its name says {named}",
            hint=f"rename it to {path.stem}{fitting}",
        )
    return named


def _content_of(path: Path) -> str:
    """The format that the first bytes tell; empty when they don't."""
    with path.open("rb") as file:
        head = file.read(16)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        return "PyTorch" if any(name.endswith("data.pkl") for name in names) else "NumPy"
    if head.startswith(_PICKLE):
        return "PyTorch"
    has_header = head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size
    return "safetensors" if has_header else ""


def read_weights(path: str | Path) -> Contents:
    """Every array of a file under the names found there. Raises CheckpointError and NotSupported."""
    path = Path(path)
    read = {
        "safetensors": _read_safetensors,
        _INDEX: _read_sharded,
        "NumPy": _read_npz,
        "MindSpore": _read_ckpt,
        "PyTorch": _read_torch,
    }
    kind = format_of(path)
    try:
        return read[kind](path)
    except (NotSupported, CheckpointError):
        raise
    except Exception as error:  # each format has its own classes
        raise CheckpointError(f"can't read weights from {path}: {error}") from error


def _read_safetensors(path: Path) -> Contents:
    weights, metadata = read_safetensors(path)
    about = {}
    for key in CLASS_KEYS:
        with suppress(ValueError):  # another program's words under the same name
            about[key] = json.loads(metadata.get(key, ""))
    return Contents(weights, about=about)


def _read_sharded(index: Path) -> Contents:
    """All arrays that an index names. Raises CheckpointError when one of its files is missing or lacks an array."""
    content = json.loads(index.read_bytes())
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not places:
        raise CheckpointError(f"{index} has no weight_map")
    arrays: Weights = {}
    for name in sorted({str(one) for one in places.values()}):
        path = index.parent / name
        if Path(name).name != name or not path.is_file():
            raise CheckpointError(
                f"{index} names {name}, which is not there", hint="copy all of its files into one folder"
            )
        found = read_weights(path).weights  # may hold more, as the arrays of an earlier save
        arrays.update({array: value for array, value in found.items() if places.get(array) == name})
    if missing := [name for name in places if name not in arrays]:
        raise CheckpointError(f"{index} names {missing[0]}, which is in none of its files")
    return Contents(arrays)


def _read_npz(path: Path) -> Contents:
    with np.load(path, allow_pickle=False) as arrays:
        return Contents({name: arrays[name] for name in arrays.files})


def _read_ckpt(path: Path) -> Contents:
    import mindspore as ms

    return Contents({name: value.asnumpy() for name, value in ms.load_checkpoint(str(path)).items()})


def _read_torch(path: Path) -> Contents:
    content = read_torch(path)
    if not isinstance(content, dict):
        raise ValueError("it holds no dictionary of weights")
    nets = {str(key): found for key, value in content.items() if (found := _net(value))}
    averages = next((nets[key] for key in _AVERAGES if key in nets), {})
    nets = {key: net for key, net in nets.items() if key not in _AVERAGES}
    weights = next((nets[key] for key in _RAW if key in nets), None) or _arrays(content)
    if len(nets) == 1:
        weights = max(weights, *nets.values(), key=len)
    if not weights and nets:
        raise ValueError(f"it holds several nets: {', '.join(nets)}; save one of them alone")
    if not weights and not averages:
        raise ValueError("it holds no weights, for example a model saved whole instead of its state_dict")
    return Contents(weights or averages, averages)


def _net(value: Any) -> Weights:
    """The arrays of a dictionary, or of one in it under one of the usual names; empty when there are none."""
    inner = [value, *(value.get(key) for key in _RAW)] if isinstance(value, dict) else []
    return next((found for one in inner if isinstance(one, dict) and (found := _arrays(one))), {})


def _arrays(values: Mapping[Any, Any]) -> Weights:
    """The arrays among the values of a dictionary."""
    return {str(name): value for name, value in values.items() if isinstance(value, np.ndarray)}


def check_writable_name(path: Path) -> None:
    """Raises CheckpointError when no format that can be written belongs to the suffix."""
    if path.suffix not in WRITABLE:
        raise CheckpointError(
            f"can't write weights to {path.name}", hint=f"the name must end with one of {', '.join(WRITABLE)}"
        )


def write_weights(
    weights: Mapping[str, np.ndarray], path: str | Path, about: Mapping[str, Any] | None = None
) -> None:
    """A file in the format of its suffix, complete or absent; timm loads .safetensors. Raises CheckpointError.

    `about` has values for `CLASS_KEYS`; only .safetensors can hold them.
    """
    path = Path(path)
    check_writable_name(path)
    arrays = {name: np.ascontiguousarray(value) for name, value in weights.items()}
    temp = path.with_name(f".{path.stem}.tmp-{os.getpid()}{path.suffix}")
    try:
        _write(arrays, temp, about or {})
        with temp.open("rb") as file:
            os.fsync(file.fileno())
        temp.replace(path)
    except OSError as error:
        raise CheckpointError(f"can't write {path}: {error.strerror or error}") from error
    finally:
        temp.unlink(missing_ok=True)


def _write(arrays: Weights, path: Path, about: Mapping[str, Any]) -> None:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".ckpt":
        import mindspore as ms

        params = [{"name": name, "data": ms.Tensor(value)} for name, value in arrays.items()]
        ms.save_checkpoint(params, str(path))
        path.chmod(0o644)
    else:
        metadata = {key: json.dumps(about[key]) for key in CLASS_KEYS if key in about}
        with path.open("wb") as file:
            file.writelines(safetensors_pieces(arrays, metadata))
