"""The tiny nets of the golden files, and what the files hold."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitmodels.archs import ModelConfig

FOLDER = Path(__file__).parent / "golden"

TINY = {
    "vit": ModelConfig("vit", 32, 8, 24, 2, 3),
    "tnt": ModelConfig(
        "tnt", 32, 16, 24, 2, 3, qkv_bias=False, norm_eps=1e-5, inner_dim=8, inner_heads=2, pixel_stride=4
    ),
}


@dataclass(frozen=True)
class Golden:
    """What timm answered: logits y and gradients of sum(y * c) for the input x."""

    x: np.ndarray
    y: np.ndarray
    c: np.ndarray
    weights: dict[str, np.ndarray]
    grads: dict[str, np.ndarray]


def read_golden(family: str) -> Golden:
    with np.load(FOLDER / f"{family}.npz") as arrays:
        parts: dict[str, dict[str, np.ndarray]] = {"w": {}, "g": {}}
        for name in arrays.files:
            kind, _, key = name.partition(":")
            if key:
                parts[kind][key] = arrays[name]
        return Golden(arrays["x"], arrays["y"], arrays["c"], parts["w"], parts["g"])


def make_net(family: str, num_classes: int = 5, **options: Any) -> Any:
    from vitmodels.nets.initialise import initialise
    from vitmodels.nets.tnt import TNT
    from vitmodels.nets.vit import ViT

    net = (TNT if family == "tnt" else ViT)(TINY[family], num_classes, **options)
    initialise(net, 0)
    return net


def logits_and_grads(net: Any, x: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """What the net answers, and the gradients of sum(y * c) by name."""
    import mindspore as ms

    weights = ms.ParameterTuple(net.trainable_params())
    factor = ms.Tensor(c)

    def weighted(images: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        y = net(images)
        return (y * factor).sum(), y

    (_, y), grads = ms.value_and_grad(weighted, None, weights, has_aux=True)(ms.Tensor(x))
    return y.asnumpy(), {p.name: g.asnumpy() for p, g in zip(weights, grads, strict=True)}


def worst_relative(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> float:
    """The largest difference of any gradient over the largest entry of that gradient."""
    assert found.keys() == wanted.keys()
    return max(float(np.abs(found[k] - wanted[k]).max() / np.abs(wanted[k]).max()) for k in wanted)
