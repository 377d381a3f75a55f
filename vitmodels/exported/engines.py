"""Runs exported files: MindSpore or MindSpore Lite for MINDIR, ONNX Runtime or OpenVINO for ONNX.

An engine is called with normalised images, float32 (B, 3, H, W), and answers with logits (B, classes).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vitmodels.errors import ExportError, NotSupported

AUTO = "auto"
SUFFIXES = {  # in the order in which they are tried
    "mindspore": (".mindir",),
    "mindspore-lite": (".mindir", ".ms"),
    "onnxruntime": (".onnx",),
    "openvino": (".onnx",),
}
ENGINES = tuple(SUFFIXES)
CPU_ONLY = ("onnxruntime", "openvino")
Run = Callable[[np.ndarray], np.ndarray]


class Engine(Protocol):
    """A loaded file."""

    def __call__(self, images: np.ndarray) -> np.ndarray: ...


def engine_of(path: Path, engine: str = AUTO, device: str | None = None) -> str:
    """The engine for a file: the named one, or with `auto` the first that is installed and reads its suffix.

    For Ascend that is MindSpore Lite, where it is installed: inference cards run nothing else. Raises NotSupported.
    """
    fitting = [name for name in ENGINES if path.suffix in SUFFIXES[name]]
    if not fitting or engine not in (AUTO, *fitting):
        name = "any engine" if engine == AUTO else engine
        raise NotSupported(f"can't run {path.name} with {name}", hint=_hint(path.suffix, fitting))
    if engine == AUTO:
        present = [name for name in fitting if is_installed(name)]
        if not present:
            raise NotSupported(
                f"no engine for {path.name} is installed", hint=f"install one of: {', '.join(fitting)}"
            )
        engine = "mindspore-lite" if device == "ascend" and "mindspore-lite" in present else present[0]
    if device == "ascend" and engine in CPU_ONLY:
        raise NotSupported(
            f"{engine} runs on CPU only", hint="run a .mindir file, or without --device ascend"
        )
    return engine


def _hint(suffix: str, fitting: list[str]) -> str:
    return f"engines for {suffix}: {', '.join(fitting)}" if fitting else "run a .mindir, .ms or .onnx file"


def is_installed(engine: str) -> bool:
    """Whether the engine's package is there; does not import it."""
    package = engine.replace("-", "_")
    return package in sys.modules or find_spec(package) is not None


def load_exported(
    path: str | Path, engine: str = AUTO, device: str = "cpu", threads: int | None = None
) -> Engine:
    """The file in its engine.

    `device` (cpu or ascend) matters to Lite, and `threads`, those of one call on CPU, to all but MindSpore, which uses what its
    context has; None leaves the number to the engine. A file with a fixed batch takes any number of images: they are run in
    pieces, the last one padded. Raises ExportError, NotSupported.
    """
    path = Path(path)
    if not path.is_file():
        raise ExportError(f"there is no file {path}")
    engine = engine_of(path, engine, device)
    if engine == "mindspore-lite":
        return LiteEngine(path, device, threads)
    if engine == "openvino":
        return OpenVinoEngine(path, threads)
    return MindirEngine(path) if engine == "mindspore" else OnnxEngine(path, threads)


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

    def __init__(self, path: Path, threads: int | None) -> None:
        onnxruntime = _import("onnxruntime", "ONNX Runtime", "pip install onnxruntime")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or 0  # 0: as many as there are cores
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
        return in_batches(self._run, images, self._batch)

    def _run(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(self._session.run(None, {self._input: images})[0])


class OpenVinoEngine:
    """OpenVINO on CPU, in float32 also where the CPU has bfloat16."""

    def __init__(self, path: Path, threads: int | None) -> None:
        openvino = _import("openvino", "OpenVINO", "pip install openvino")
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            self._net = openvino.Core().compile_model(str(path), "CPU", settings)
        except RuntimeError as error:
            raise ExportError(f"can't read {path}: {first_line(error)}") from error
        batch = self._net.inputs[0].partial_shape[0]
        self._batch = None if batch.is_dynamic else batch.get_length()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return in_batches(self._run, images, self._batch)

    def _run(self, images: np.ndarray) -> np.ndarray:
        return np.array(self._net(images)[0])  # a copy: the next call writes in the same memory


class LiteEngine:
    """MindSpore Lite on CPU or Ascend."""

    def __init__(self, path: Path, device: str, threads: int | None) -> None:
        lite = _import(
            "mindspore_lite", "MindSpore Lite", "install mindspore-lite, or use --engine mindspore"
        )
        context = lite.Context()
        context.target = [device]
        if threads is not None:
            context.cpu.thread_num = threads
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


def _import(package: str, name: str, hint: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise NotSupported(f"{name} is not installed", hint=hint) from error


def in_batches(run: Run, images: np.ndarray, batch: int | None) -> np.ndarray:
    """The answers for any number of images by something that takes exactly `batch` of them, or any number (None)."""
    if batch is None:
        return run(images)
    return np.concatenate([run(piece) for piece in fixed_batches(images, batch)])[: len(images)]


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
