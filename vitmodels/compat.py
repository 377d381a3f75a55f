"""The only place that asks which device and which MindSpore this is."""

from __future__ import annotations

import mindspore as ms


def on_ascend() -> bool:
    """Whether nets built now will run on an Ascend NPU."""
    return str(ms.get_context("device_target")) == "Ascend"


def fused_operators() -> bool:
    """Whether the device has a good fused kernel for GELU.

    The CPU kernel of MindSpore 2.10 is slow, and its erf can't be written to ONNX; there GELU is composed from
    fast operators instead.
    """
    return on_ascend()
