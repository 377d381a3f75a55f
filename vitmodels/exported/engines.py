"""Runs exported files: MindSpore for MINDIR, ONNX Runtime for ONNX, MindSpore Lite where it is installed.

An engine is called with normalised images, float32 (B, 3, H, W), and answers with logits (B, classes).
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol

import numpy as np

from vitmodels.errors import ExportError, NotSupported

SUFFIXES = {"mindspore": (".mindir",), "onnxruntime": (".onnx",), "lite": (".mindir", ".ms")}
ENGINES = tuple(SUFFIXES)
_BY_SUFFIX = {".mindir": "mindspore", ".onnx": "onnxruntime", ".ms": "lite"}


class Engine(Protocol):
    """A loaded file."""

    def __call__(self, images: np.ndarray) -> np.ndarray: ...


def engine_of(path: Path, engine: str = "") -> str:
    """The engine for a file: the one that is named, else the one of its suffix. Raises NotSupported."""
    engine = engine or _BY_SUFFIX.get(path.suffix, "")
    if path.suffix not in SUFFIXES.get(engine, ()):
        raise NotSupported(
            f"can't run {path.name} with {engine or 'any engine'}", hint="run a .mindir or an .onnx file"
        )
    return engine


def load_exported(path: str | Path, engine: str = "", device: str = "cpu") -> Engine:
    """The file in its engine.

    `device` (cpu or ascend) matters to Lite; MindSpore uses the one that is set in its context. A file with a fixed
    batch takes any number of images: they are run in pieces, the last one padded. Raises ExportError, NotSupported.
    """
    path = Path(path)
    if not path.is_file():
        raise ExportError(f"there is no file {path}")
    engine = engine_of(path, engine)
    if engine == "lite":
        return LiteEngine(path, device)
    return MindirEngine(path) if engine == "mindspore" else OnnxEngine(path)


class MindirEngine:
    """MindSpore, any batch."""

    def __init__(self, path: Path) -> None:
        import mindspore as ms
        from mindspore import nn

        self._tensor = ms.Tensor
        try:
            self._net = nn.GraphCell(ms.load(str(path)))
        except (RuntimeError, ValueError) as error:
            raise ExportError(f"can't read {path}: {first_line(error)}") from error

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self._net(self._tensor(images)).asnumpy()


class OnnxEngine:
    """ONNX Runtime on CPU."""

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise NotSupported("ONNX Runtime is not installed", hint="pip install onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its classes are not public
            raise ExportError(f"can't read {path}: {first_line(error)}") from error
        images = self._session.get_inputs()[0]
        self._input = images.name
        self._batch = images.shape[0] if isinstance(images.shape[0], int) else None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        if self._batch is None:
            return self._run(images)
        pieces = fixed_batches(images, self._batch)
        return np.concatenate([self._run(piece) for piece in pieces])[: len(images)]

    def _run(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(self._session.run(None, {self._input: images})[0])


class LiteEngine:
    """MindSpore Lite on CPU or Ascend."""

    def __init__(self, path: Path, device: str) -> None:
        try:
            lite = importlib.import_module("mindspore_lite")
        except ImportError as error:
            raise NotSupported(
                "MindSpore Lite is not installed", hint="install mindspore-lite, or use --engine mindspore"
            ) from error
        context = lite.Context()
        context.target = [device]
        self._model = lite.Model()
        try:
            self._model.build_from_file(str(path), lite.ModelType.MINDIR, context)
        except RuntimeError as error:
            raise ExportError(f"can't read {path}: {first_line(error)}") from error

    def __call__(self, images: np.ndarray) -> np.ndarray:
        inputs = self._model.get_inputs()
        if list(inputs[0].shape) != list(images.shape):
            self._model.resize(inputs, [list(images.shape)])
            inputs = self._model.get_inputs()
        inputs[0].set_data_from_numpy(np.ascontiguousarray(images))
        return np.asarray(self._model.predict(inputs)[0].get_data_to_numpy())


def fixed_batches(images: np.ndarray, batch: int) -> list[np.ndarray]:
    """`images` in pieces of exactly `batch`; zeros fill the last one up."""
    missing = -len(images) % batch
    if missing:
        images = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)])
    return [images[begin : begin + batch] for begin in range(0, len(images), batch)]


def first_line(error: BaseException) -> str:
    """The first line with words of a MindSpore message, which goes on for pages."""
    return next(
        (line.strip() for line in str(error).splitlines() if line.strip(" -\n")), type(error).__name__
    )
