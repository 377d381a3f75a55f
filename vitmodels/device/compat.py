"""Which device and which operators nets are built for; nothing else asks MindSpore."""

from __future__ import annotations

import mindspore as ms

from vitmodels.device.kernels.library import library


def on_ascend() -> bool:
    """Whether nets built now will run on an Ascend NPU."""
    return str(ms.get_context("device_target")) == "Ascend"


def compiled_kernels() -> bool:
    """Whether nets built now can use our own compiled operators: on CPU, where a C++ compiler is."""
    return not on_ascend() and library().path is not None


def kernels_digest() -> str:
    """Names the compiled operators in use; empty when there are none."""
    return library().digest if compiled_kernels() else ""


def kernels_note(operators: str) -> str | None:
    """For the log: which operators a net computes with; None on Ascend, where there is no choice."""
    if on_ascend():
        return None
    if library().path is not None and operators == "mindspore":
        return "CPU kernels: slower operators, as float16 needs"
    return f"CPU kernels: {library().note}"
