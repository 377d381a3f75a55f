"""One device, and the devices together: a matrix product, a sum over all ranks, an export, an error."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np

from vitmodels.device.runtime import Group
from vitmodels.errors import NotSupported
from vitmodels.exported.write import export_model
from vitmodels.nets.registry import create_model

SIDE = 512
ROUNDS = 10
HUGE = (1 << 20, 1 << 20)
"""A float32 tensor of this shape has 4 TiB: no device holds it."""


def compute(group: Group) -> dict[str, Any]:
    """The largest error of a float32 matrix product, as a share of the largest product."""
    rng = np.random.default_rng(group.rank.id)
    one, other = (rng.standard_normal((SIDE, SIDE)).astype(np.float32) for _ in range(2))
    expected = one.astype(np.float64) @ other
    product = ms.ops.matmul(ms.Tensor(one), ms.Tensor(other)).asnumpy()
    error = float(np.abs(product - expected).max() / np.abs(expected).max())
    return {"device": group.device, "device_id": group.rank.device_id, "error": error}


def reduce(group: Group, elements: int) -> dict[str, Any]:
    """Whether every element of a sum over all ranks is right, and how long one sum takes."""
    values = np.arange(elements, dtype=np.float32) % 1000 + group.rank.id
    expected = group.size * (np.arange(elements, dtype=np.float32) % 1000) + sum(range(group.size))
    wrong = int((group.sum(values) != expected).sum())
    started = time.monotonic()
    for _ in range(ROUNDS):
        group.sum(values)
    seconds = (time.monotonic() - started) / ROUNDS
    return {
        "device": group.device,
        "ranks": group.size,
        "wrong": wrong,
        "bytes": 4 * elements,
        "seconds": seconds,
    }


def fail(group: Group) -> None:
    """Ask an NPU for more memory than any has. Raises what MindSpore raises; NotSupported on CPU, which might try it."""
    if group.device == "CPU":
        raise NotSupported("no NPU here that could run out of memory")
    ms.ops.ones(HUGE, ms.float32).asnumpy()


def export_air(folder: Path) -> None:
    """Write a small net with fresh weights. Raises NotSupported where MindSpore can't."""
    arch = "tnt_digits"
    export_model(create_model(arch, num_classes=10), arch, folder, ["AIR"])
