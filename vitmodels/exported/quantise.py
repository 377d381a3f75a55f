"""An ONNX file with 8-bit weights, and what that costs in accuracy.

Weights have one scale a channel; activations are quantised as they come, so no images are needed to calibrate. Weights are
unsigned with a zero point: x86 CPUs without VNNI saturate when they add up products of unsigned activations and signed weights.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from vitmodels.digest import file_sha256
from vitmodels.errors import DataError, ExportError, NotSupported
from vitmodels.exported.engines import first_line, load_exported
from vitmodels.exported.index import Exported, write_index
from vitmodels.exported.prepare import Images, preparation_of
from vitmodels.exported.results import Summary, Tally, infer

SUFFIX = ".int8.onnx"
BATCH = 8


@dataclass(frozen=True)
class AccuracyDrop:
    """Top-1 of the float32 file and of the int8 one on the same images, and the difference."""

    images: int
    top1_float32: float
    top1_int8: float
    drop: float


def check_labels(images: Images) -> None:
    """Raises DataError where the accuracy can't be measured."""
    if not any(label >= 0 for label in images.labels):
        raise DataError(
            f"the images in {images.root} have no labels, so the accuracy of int8 can't be measured",
            hint="give a folder of class folders, or one with val/ in it",
        )


def export_int8(folder: Path, exported: Exported, images: Images) -> tuple[Exported, AccuracyDrop]:
    """Write `<arch>.int8.onnx` beside an ONNX file, and both accuracies to export.json. Raises ExportError, DataError."""
    source = folder / exported.name
    target = folder / (source.name.removesuffix(".onnx") + SUFFIX)
    quantise(source, target)
    before, after = (_accuracy(path, source, images) for path in (source, target))
    if before.top1 is None or after.top1 is None:
        raise DataError(f"no image with a label could be read in {images.root}")
    drop = AccuracyDrop(after.images, before.top1, after.top1, round(before.top1 - after.top1, 6))
    size, digest = target.stat().st_size, file_sha256(target)
    written = replace(exported, name=target.name, size=size, sha256=digest, quantised=asdict(drop))
    write_index(folder, [written])
    return written, drop


def quantise(source: Path, target: Path) -> None:
    """Write the int8 file of an ONNX file, whole or not at all. Raises ExportError, and NotSupported without ONNX Runtime."""
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise NotSupported(
            "int8 needs ONNX Runtime, which is not installed", hint="pip install onnxruntime"
        ) from error
    temp = target.with_name(f".tmp-{target.name}-{os.getpid()}")
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # the quantiser advises to simplify the graph, which is done
    try:
        quantize_dynamic(source, temp, per_channel=True, weight_type=QuantType.QUInt8)
        with temp.open("rb") as file:
            os.fsync(file.fileno())
        temp.replace(target)
    except (RuntimeError, ValueError, OSError) as error:
        raise ExportError(f"can't quantise {source.name}: {first_line(error)}") from error
    finally:
        root.setLevel(level)
        temp.unlink(missing_ok=True)


def _accuracy(path: Path, source: Path, images: Images) -> Summary:
    tally, begin = Tally(), time.monotonic()
    for answers in infer(load_exported(path), images, preparation_of(source, None, None), BATCH):
        tally.add(answers)
    return tally.summary(path.name, "onnxruntime", images, time.monotonic() - begin)
