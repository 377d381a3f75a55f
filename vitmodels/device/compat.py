"""The only place that asks which device and which MindSpore this is, and chooses operators by it."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn

from vitmodels.device.kernels.library import library


def on_ascend() -> bool:
    """Whether nets built now will run on an Ascend NPU."""
    return str(ms.get_context("device_target")) == "Ascend"


def fused_operators() -> bool:
    """Whether the device has a good fused kernel for GELU.

    The CPU kernel of MindSpore 2.10 is slow, and its erf can't be written to ONNX; there GELU is our own, or composed
    from fast operators.
    """
    return on_ascend()


def compiled_kernels() -> bool:
    """Whether layers built now use our own compiled operators: on CPU, where a C++ compiler is."""
    return not on_ascend() and library().path is not None


def kernels_digest() -> str:
    """Names the compiled operators in use; empty when there are none."""
    return library().digest if compiled_kernels() else ""


def kernels_note(model: nn.Cell) -> str | None:
    """For the log: which operators `model` computes with; None where there is no choice."""
    if on_ascend():
        return None
    if library().path is not None and not _uses_kernels(model):
        return "CPU kernels: slower operators, as float16 needs"
    return f"CPU kernels: {library().note}"


def compose(model: nn.Cell) -> None:
    """Let `model` compute with MindSpore's operators only: to export it, and for anything but float32."""
    for _, cell in model.cells_and_names():
        if getattr(cell, "uses_kernel", False):
            cell.uses_kernel = False


def _uses_kernels(model: nn.Cell) -> bool:
    return any(getattr(cell, "uses_kernel", False) for _, cell in model.cells_and_names())
