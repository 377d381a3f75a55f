"""Writes a net as MINDIR, ONNX or AIR.

A file appears under its final name only when it is complete, and others may read it. MINDIR and ONNX keep the batch
open. AIR has a fixed one, and can be written only where an Ascend NPU is.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vitmodels.digest import file_sha256
from vitmodels.errors import ExportError, NotSupported, UsageError
from vitmodels.exported.engines import first_line
from vitmodels.exported.index import Exported, Shape, write_index
from vitmodels.exported.metadata import SUFFIXES as METADATA_SUFFIXES
from vitmodels.exported.metadata import add_metadata

if TYPE_CHECKING:
    from mindspore import nn

SUFFIXES = {"MINDIR": ".mindir", "ONNX": ".onnx", "AIR": ".air"}


def parse_formats(text: str) -> tuple[str, ...]:
    """`MINDIR,ONNX` as names, each once. Raises UsageError."""
    names = tuple(dict.fromkeys(part.strip().upper() for part in text.split(",") if part.strip()))
    unknown = [name for name in names if name not in SUFFIXES]
    if unknown or not names:
        raise UsageError(
            f"unknown export format {', '.join(unknown) or repr(text)}, known: {', '.join(SUFFIXES)}"
        )
    return names


def export_model(
    model: nn.Cell,
    arch: str,
    folder: Path,
    formats: Sequence[str],
    *,
    step: int | None = 0,
    batch: int = 1,
    preprocess: Mapping[str, Any] | None = None,
    parameters: str | None = None,
    skipped: Sequence[dict[str, str]] = (),
    about: Mapping[str, Any] | None = None,
) -> list[Exported]:
    """Write `<folder>/<arch>.<suffix>` in each format, then export.json, which lists all files in the folder.

    `batch` is the fixed batch of AIR. `preprocess` (mean, std, crop_pct,
    interpolation) and `about` (image_size, num_classes, classes, class_order) are kept in export.json and in the file for
    programs that run it, and so is the origin of the weights. Raises ExportError and NotSupported.
    """
    _check_possible(formats)
    model = _portable(model)
    about = {"image_size": model.config.image_size, **(about or {})}
    origin = {"arch": arch, "step": step, "parameters": parameters, "preprocess": dict(preprocess or {})}
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in formats:
        shape = (batch if name == "AIR" else None, 3, model.config.image_size, model.config.image_size)
        path = _export_one(model, arch, folder, name, shape, {**origin, **about})
        size, digest = path.stat().st_size, file_sha256(path)
        kept = (step, dict(preprocess or {}), parameters, tuple(skipped))
        written.append(Exported(path.name, name, size, digest, shape, *kept, **about))
    write_index(folder, written)
    return written


def _check_possible(formats: Sequence[str]) -> None:
    """Raises NotSupported for a format that can't be written here."""
    from vitmodels.device.compat import on_ascend

    if "AIR" in formats and not on_ascend():
        raise NotSupported(
            "AIR can be exported only on a machine with an Ascend NPU",
            hint="export MINDIR here, or run on Ascend",
        )
    if "ONNX" in formats and find_spec("onnx") is None:
        raise NotSupported("ONNX needs the package onnx, which is not installed", hint="pip install onnx")


def _portable(model: nn.Cell) -> nn.Cell:
    """The model itself, or one with the same weights and MindSpore's operators: a file can hold no others."""
    if model.operators == "mindspore":
        return model
    from vitmodels.nets.weights import load_weights, model_weights

    copy = type(model)(model.config, int(model.head.bias.shape[0]), operators="mindspore")
    load_weights(copy, model_weights(model))
    return copy


def _export_one(
    model: nn.Cell, arch: str, folder: Path, name: str, shape: Shape, about: Mapping[str, Any]
) -> Path:
    """Write one file under a temporary name, then give it its own."""
    import mindspore as ms

    temp = folder / f".tmp-{arch}-{name.lower()}-{os.getpid()}"
    shutil.rmtree(temp, ignore_errors=True)
    temp.mkdir()
    try:
        model.set_train(False)
        example = (
            ms.Tensor(shape=list(shape), dtype=ms.float32)
            if name == "MINDIR"
            else ms.Tensor(np.zeros([size or 1 for size in shape], np.float32))
        )
        ms.export(model, example, file_name=str(temp / arch), file_format=name)
        target = temp / f"{arch}{SUFFIXES[name]}"
        parts = sorted(path for path in temp.rglob("*") if path.is_file())
        if parts != [target] or not target.stat().st_size:
            raise ExportError(f"{name} export wrote {[path.name for path in parts]}, expected one file")
        target.chmod(0o644)
        if name == "ONNX":
            from vitmodels.exported.onnxrewrite import rewrite_file

            rewrite_file(target)
        if target.suffix in METADATA_SUFFIXES:
            add_metadata(target, {key: json.dumps(value) for key, value in about.items()})
        return _commit(target, folder)
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        raise ExportError(f"can't export {arch} as {name}: {first_line(error)}") from error
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def _commit(source: Path, folder: Path) -> Path:
    """Put the file on disk, and give it its final name."""
    with source.open("rb") as file:
        os.fsync(file.fileno())
    return source.replace(folder / source.name)
