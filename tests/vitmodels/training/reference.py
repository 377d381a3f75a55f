"""A model that numpy can differentiate, its training by the formulas of the papers, and its batches."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn

from vitmodels.config import Recipe
from vitmodels.images.batches import Batch
from vitmodels.images.mixing import draw_mix, mix_targets, smooth_targets
from vitmodels.recipe_file import make_recipe
from vitmodels.training.layerrates import rate_share

SIDE, CLASSES, BATCH = 8, 3, 4
FEATURES = 3 * SIDE * SIDE


class Linear(nn.Cell):
    """A model that numpy can differentiate: logits = x W^T + b."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(3)
        self.weight = ms.Parameter(
            ms.Tensor(rng.normal(0, 0.1, (CLASSES, FEATURES)).astype(np.float32)), name="weight"
        )
        self.bias = ms.Parameter(ms.Tensor(np.zeros(CLASSES, np.float32)), name="bias")

    def construct(self, images: ms.Tensor, masks: ms.Tensor | None = None) -> ms.Tensor:
        return ms.ops.matmul(images.reshape(images.shape[0], -1), self.weight.T) + self.bias


def recipe_of(**changes: object) -> Recipe:
    base = {
        "arch": "vit_digits",
        "num_classes": CLASSES,
        "batch_size": BATCH,
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
    }
    return make_recipe({**base, "lr_scale": "none", **changes})


def batch_of(seed: int, recipe: Recipe) -> Batch:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (BATCH, SIDE, SIDE, 3), np.uint8)
    targets = smooth_targets(rng.integers(0, CLASSES, BATCH), CLASSES, 0.1)
    mix = None
    if recipe.mixes:
        mix = draw_mix(recipe, seed, np.arange(BATCH), SIDE)
        targets = mix_targets(targets, mix.share)
    return Batch(images, targets, mix, None)


class Reference:
    """The same training in numpy, float64, written from the formulas of the papers."""

    def __init__(self, recipe: Recipe, model: Linear) -> None:
        self.recipe = recipe
        self.p = {"weight": model.weight.asnumpy().astype(float), "bias": model.bias.asnumpy().astype(float)}
        self.m = {name: np.zeros_like(value) for name, value in self.p.items()}
        self.v = {name: np.zeros_like(value) for name, value in self.p.items()}
        self.ema = {name: value.copy() for name, value in self.p.items()}
        self.t = 0

    def pixels(self, batch: Batch) -> np.ndarray:
        x = (batch.images / 255.0 - np.array(self.recipe.mean)) / np.array(self.recipe.std)
        x = x.transpose(0, 3, 1, 2)
        if batch.mix is not None:
            mixed = x.copy()
            for i, (top, bottom, left, right) in enumerate(batch.mix.box):
                mixed[i] = batch.mix.lam[i] * x[i] + (1 - batch.mix.lam[i]) * x[i ^ 1]
                mixed[i, :, top:bottom, left:right] = x[i ^ 1, :, top:bottom, left:right]
            x = mixed
        return x.reshape(len(x), -1)

    def gradient(self, batch: Batch) -> tuple[float, dict[str, np.ndarray]]:
        x = self.pixels(batch)
        logits = x @ self.p["weight"].T + self.p["bias"]
        logits -= logits.max(axis=1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        delta = (np.exp(log_p) - batch.targets) / len(x)
        return float(-(batch.targets * log_p).sum() / len(x)), {
            "weight": delta.T @ x,
            "bias": delta.sum(axis=0),
        }

    def step(self, micros: list[Batch], lr: float) -> float:
        found = [self.gradient(batch) for batch in micros]
        grads = {name: sum(grad[name] for _, grad in found) / len(found) for name in self.p}
        norm = np.sqrt(sum((grad**2).sum() for grad in grads.values()))
        clip = self.recipe.clip_global_norm_value
        if clip and norm > clip:
            grads = {name: grad * clip / (norm + 1e-6) for name, grad in grads.items()}
        self.t += 1
        for name, grad in grads.items():
            share = rate_share(name, self.recipe)
            self._update(name, grad, lr * share, self.recipe.weight_decay if name == "weight" else 0.0)
            keep = self.recipe.ema
            self.ema[name] = keep * self.ema[name] + (1 - keep) * self.p[name]
        return sum(loss for loss, _ in found) / len(found)

    def _update(self, name: str, grad: np.ndarray, lr: float, decay: float) -> None:
        kind, (b1, b2) = self.recipe.optimizer, self.recipe.beta
        if kind == "momentum":
            self.m[name] = self.recipe.momentum * self.m[name] + grad + decay * self.p[name]
            self.p[name] = self.p[name] - lr * self.m[name]
            return
        self.m[name] = b1 * self.m[name] + (1 - b1) * grad
        self.v[name] = b2 * self.v[name] + (1 - b2) * grad**2
        first, second = self.m[name], self.v[name]
        if kind == "adamw":
            first, second = first / (1 - b1**self.t), second / (1 - b2**self.t)
        change = first / (np.sqrt(second) + self.recipe.epsilon) + decay * self.p[name]
        self.p[name] = self.p[name] - lr * change
