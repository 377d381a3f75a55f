"""Which device, which MindSpore and which operators nets are built for; nothing else asks MindSpore."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mindspore as ms
from mindspore import ops
from mindspore.ops.auto_generate import SplitWithSize

from vitmodels.device.kernels.library import library


def on_ascend() -> bool:
    """Whether nets built now will run on an Ascend NPU."""
    return str(ms.get_context("device_target")) == "Ascend"


def mindspore_release() -> tuple[int, int]:
    """Major and minor number of the MindSpore of this process."""
    major, minor, *_ = str(ms.__version__).split(".")
    return int(major), int(minor)


def split_by_sizes() -> Callable[..., Any]:
    """What splits (tensor, sizes, axis) into tensors. Before 2.8 the operator has no kernel for CPU, and a function does it."""
    return ops.split if mindspore_release() < (2, 8) and not on_ascend() else SplitWithSize()


def compiled_kernels() -> bool:
    """Whether nets built now can use our own compiled operators: on CPU, where a C++ compiler is."""
    return not on_ascend() and library().path is not None


def kernels_file() -> str:
    """The file of the compiled operators in use, with its digest in its name; empty when there are none."""
    return str(library().path) if compiled_kernels() else ""


def kernels_note(operators: str) -> str | None:
    """For the log: which operators a net computes with; None on Ascend, where there is no choice."""
    if on_ascend():
        return None
    if library().path is not None and operators == "mindspore":
        return "CPU kernels: slower operators, as mixed precision needs"
    return f"CPU kernels: {library().note}"
