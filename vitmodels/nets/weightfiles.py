"""Files of weights: .safetensors, .npz, MindSpore's .ckpt, PyTorch's .pth. Arrays keep the names that they have there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vitmodels.errors import CheckpointError, NotSupported

Weights = dict[str, np.ndarray]


def read_weights(path: str | Path) -> Weights:
    """Every array of a file, or of a checkpoint folder, under the names found there. Raises CheckpointError."""
    path = Path(path)
    try:
        if path.is_dir():
            path = path / "model.safetensors"
        if path.suffix == ".safetensors":
            from safetensors.numpy import load_file

            return load_file(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        if path.suffix in (".pth", ".pt", ".bin", ".tar"):
            return _read_torch(path)
        if path.suffix == ".ckpt":
            import mindspore as ms

            return {name: value.asnumpy() for name, value in ms.load_checkpoint(str(path)).items()}
    except NotSupported:
        raise
    except Exception as error:  # each format has its own classes
        raise CheckpointError(f"can't read weights from {path}: {error}") from error
    raise CheckpointError(f"can't read weights from {path}", hint="use .safetensors, .npz, .pth or .ckpt")


def _read_torch(path: Path) -> Weights:
    try:
        import torch
    except ImportError as error:
        raise NotSupported(
            f"{path.name} is a PyTorch file, and PyTorch is not installed", hint="convert it to .safetensors"
        ) from error
    content = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model", "state_dict_ema"):
        if isinstance(content.get(key), dict):
            content = content[key]
    return {name: value.float().numpy() for name, value in content.items()}


def write_weights(weights: Mapping[str, np.ndarray], path: str | Path) -> None:
    """A safetensors file that timm loads; complete or absent."""
    from safetensors.numpy import save

    path = Path(path)
    temp = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with temp.open("wb") as file:
        file.write(save({name: np.ascontiguousarray(value) for name, value in weights.items()}))
        file.flush()
        os.fsync(file.fileno())
    temp.replace(path)
