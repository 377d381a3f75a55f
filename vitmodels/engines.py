"""Runs exported files: MindSpore for MINDIR, ONNX Runtime for ONNX, MindSpore Lite where it is installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vitmodels.errors import ExportError, NotSupported

Predict = Callable[[np.ndarray], np.ndarray]  # float32 (B, 3, H, W), normalised -> logits (B, classes)

ENGINES = ("mindspore", "onnxruntime", "lite")


def load_exported(path: str | Path, engine: str = "", device: str = "cpu") -> Predict:
    """A function from normalised images (B, 3, H, W), float32, to logits (B, classes).

    Without `engine`, the suffix chooses it. `device` (cpu or ascend) matters to Lite; MindSpore uses the one
    that is set in its context. A file with a fixed batch takes any number of images: it is fed in pieces
    and the last one padded. Raises ExportError and NotSupported.
    """
    path = Path(path)
    if not path.is_file():
        raise ExportError(f"there is no file {path}")
    by_suffix = {".mindir": "mindspore", ".onnx": "onnxruntime", ".ms": "lite"}
    engine = engine or by_suffix.get(path.suffix, "")
    fits = {"mindspore": (".mindir",), "onnxruntime": (".onnx",), "lite": (".mindir", ".ms")}
    if path.suffix not in fits.get(engine, ()):
        raise NotSupported(
            f"can't run {path.name} with {engine or 'any engine'}", hint="run a .mindir or an .onnx file"
        )
    if engine == "lite":
        return _load_lite(path, device)
    return _load_mindir(path) if engine == "mindspore" else _load_onnx(path)


def _load_mindir(path: Path) -> Predict:
    import mindspore as ms
    from mindspore import nn

    try:
        net = nn.GraphCell(ms.load(str(path)))
    except (RuntimeError, ValueError) as error:
        raise ExportError(f"can't read {path}: {first_line(error)}") from error

    def predict(images: np.ndarray) -> np.ndarray:
        return net(ms.Tensor(images)).asnumpy()

    return predict


def _load_onnx(path: Path) -> Predict:
    try:
        import onnxruntime
    except ImportError as error:
        raise NotSupported("ONNX Runtime is not installed", hint="pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes are not public
        raise ExportError(f"can't read {path}: {first_line(error)}") from error
    entry = session.get_inputs()[0]
    fixed = entry.shape[0] if isinstance(entry.shape[0], int) else None

    def run(images: np.ndarray) -> np.ndarray:
        return session.run(None, {entry.name: images})[0]

    return run if fixed is None else in_batches(run, fixed)


def _load_lite(path: Path, device: str) -> Predict:
    try:
        lite = importlib.import_module("mindspore_lite")
    except ImportError as error:
        raise NotSupported(
            "MindSpore Lite is not installed", hint="install mindspore-lite, or use --engine mindspore"
        ) from error
    context = lite.Context()
    context.target = [device]
    model = lite.Model()
    try:
        model.build_from_file(str(path), lite.ModelType.MINDIR, context)
    except RuntimeError as error:
        raise ExportError(f"can't read {path}: {first_line(error)}") from error

    def predict(images: np.ndarray) -> np.ndarray:
        inputs = model.get_inputs()
        if list(inputs[0].shape) != list(images.shape):
            model.resize(inputs, [list(images.shape)])
            inputs = model.get_inputs()
        inputs[0].set_data_from_numpy(np.ascontiguousarray(images))
        outputs: list[Any] = model.predict(inputs)
        return np.asarray(outputs[0].get_data_to_numpy())

    return predict


def in_batches(run: Predict, batch: int) -> Predict:
    """`run`, which takes exactly `batch` images, as a function of any number of them."""

    def predict(images: np.ndarray) -> np.ndarray:
        found = []
        for begin in range(0, len(images), batch):
            part = images[begin : begin + batch]
            missing = batch - len(part)
            if missing:
                part = np.concatenate([part, np.zeros((missing, *part.shape[1:]), part.dtype)])
            found.append(run(part)[: batch - missing])
        return np.concatenate(found)

    return predict


def first_line(error: BaseException) -> str:
    """What a user can read of a MindSpore message, which goes on for pages."""
    return next(
        (line.strip() for line in str(error).splitlines() if line.strip(" -\n")), type(error).__name__
    )
