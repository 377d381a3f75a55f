"""The only place that asks which device and which MindSpore this is."""

from __future__ import annotations

import mindspore as ms


def on_ascend() -> bool:
    """Whether nets built now will run on an Ascend NPU."""
    return str(ms.get_context("device_target")) == "Ascend"


def fused_operators() -> bool:
    """Whether the device has good fused kernels for GELU and LayerNorm.

    The CPU kernels of MindSpore 2.10 for GELU and for the gradient of LayerNorm are scalar loops, and its erf
    can't be written to ONNX; there the layers compose them from fast operators instead.
    """
    return on_ascend()
