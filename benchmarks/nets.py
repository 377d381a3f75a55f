"""The nets that models.py compares, one class a library: `forward` and `step` return when the result is there.

`save` begins to write a checkpoint, and `busy` is true as long as it is being written; checkpoints.py compares these.
"""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

import numpy as np

MINDCV_NAMES = {"vit_base_patch16_224": "vit_b_16_224"}
CLASSES = 1000


class Net(Protocol):
    """A net with its inputs and its optimiser."""

    def forward(self) -> object:
        """One inference."""

    def step(self) -> object:
        """Forward, backward and AdamW."""


def load(library: str) -> None:
    """Import what a library consists of, before any net is made."""
    if library == "timm":
        from benchmarks.torch_peer import import_timm

        import_timm()
    else:
        importlib.import_module("mindcv" if library == "mindcv" else "mindspore")


def inputs(batch: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((batch, 3, side, side), np.float32), rng.integers(0, CLASSES, batch)


class MindSporeNet:
    """A net of MindSpore. `update` is a cell that changes `weights` by AdamW, from their gradients."""

    def __init__(self, net: Any, batch: int, side: int, weights: Any, update: Any) -> None:
        import mindspore as ms
        from mindspore import nn, ops

        images, labels = inputs(batch, side)
        x, y = ms.Tensor(images), ms.Tensor(labels.astype(np.int32))
        net.set_train(False)

        class Forward(nn.Cell):
            def __init__(self) -> None:
                super().__init__(auto_prefix=False)
                self.net = net

            def construct(self, x: Any) -> Any:
                return self.net(x)

        class Step(nn.Cell):
            def __init__(self) -> None:
                super().__init__(auto_prefix=False)
                self.net, self.update = net, update
                self.grad = ms.value_and_grad(self.loss, None, ms.ParameterTuple(weights))

            def loss(self, x: Any, y: Any) -> Any:
                return ops.cross_entropy(self.net(x), y)

            def construct(self, x: Any, y: Any) -> Any:
                loss, grads = self.grad(x, y)
                return ops.depend(loss, self.update(grads))

        self._x, self._y = x, y
        self._forward, self._step = Forward(), Step()

    def forward(self) -> object:
        return self._forward(self._x).asnumpy()

    def step(self) -> object:
        return self._step(self._x, self._y).asnumpy()


class Ours(MindSporeNet):
    """A net of vitmodels, with the update of the training program."""

    def __init__(self, arch: str, batch: int, side: int | None = None) -> None:
        import mindspore as ms
        from mindspore import nn

        from vitmodels.device.runtime import release_memory
        from vitmodels.nets.registry import create_model
        from vitmodels.recipe_file import make_recipe
        from vitmodels.training.optim import Update, adam_scalars, decayed_first

        ms.set_context(mode=ms.GRAPH_MODE)
        recipe = make_recipe({"arch": arch, "batch_size": batch, "num_classes": CLASSES, "lr_scale": "none"})
        net = create_model(arch, num_classes=CLASSES, image_size=side)
        weights = decayed_first(net.trainable_params())

        class OurUpdate(nn.Cell):
            def __init__(self) -> None:
                super().__init__(auto_prefix=False)
                self.update = Update(weights, [weight.name for weight in weights], recipe)
                self.one = ms.Tensor(1.0, ms.float32)
                self.scalars = ms.Tensor(adam_scalars(recipe, 1e-4, 1000), ms.float32)

            def construct(self, grads: Any) -> Any:
                return self.update(grads, self.one, self.scalars)

        super().__init__(net, batch, net.config.image_size, weights, OurUpdate())
        self._step.compile(self._x, self._y)
        release_memory()  # as the training program does


class MindCv(MindSporeNet):
    """A net of MindCV."""

    def __init__(self, arch: str, batch: int, side: int | None = None) -> None:
        import mindspore as ms
        from mindcv.models import create_model
        from mindspore import nn, ops

        ms.set_context(mode=ms.GRAPH_MODE)
        net = create_model(MINDCV_NAMES[arch], num_classes=CLASSES)
        weights = ms.ParameterTuple(net.trainable_params())

        class MindSporesUpdate(nn.Cell):
            def __init__(self) -> None:
                super().__init__(auto_prefix=False)
                self.weights = weights
                self.first = weights.clone("first", "zeros")
                self.second = weights.clone("second", "zeros")
                self.fused = ops.AdamWeightDecay()

            def construct(self, grads: Any) -> Any:
                done = grads[0]
                for i in range(len(grads)):
                    moments = (self.weights[i], self.first[i], self.second[i])
                    done = ops.depend(done, self.fused(*moments, 1e-4, 0.9, 0.999, 1e-8, 0.05, grads[i]))
                return done

        super().__init__(net, batch, side or 224, weights, MindSporesUpdate())


class Program:
    """The training program's step, with its compile cache, and its checkpoints in `run` of the benchmark's folder."""

    def __init__(self, arch: str, batch: int, side: int | None = None) -> None:
        from vitmodels.device.compilecache import separate_cache
        from vitmodels.device.runtime import Group, Rank
        from vitmodels.images.batches import Batch
        from vitmodels.nets.registry import create_model
        from vitmodels.recipe_file import make_recipe
        from vitmodels.training.saver import Saver
        from vitmodels.training.trainer import Trainer

        values = {"arch": arch, "batch_size": batch, "num_classes": CLASSES, "lr_scale": "none"}
        recipe = make_recipe(values | ({"image_size": side} if side else {}))
        Group(Rank(), "CPU")
        self._arch = arch
        self._cache = separate_cache("benchmark", recipe.json_dict())
        self._trainer = Trainer(create_model(arch, num_classes=CLASSES, image_size=side), recipe, 1)
        self._saver = Saver(Path(os.environ["BENCHMARK_FOLDER"]) / "run" / "checkpoints", keep=2)
        self._copies: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = {}, {}
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (batch, recipe.side, recipe.side, 3), np.uint8)
        targets = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, batch)]
        self._batch = Batch(images, targets, None, None)

    def step(self) -> None:
        from vitmodels.device.compilecache import seal

        self._trainer.step([self._batch], 1e-4, False)
        if self._trainer.updates == 1:
            seal(self._cache)

    def save(self) -> None:
        from vitmodels.training.checkpoint import Snapshot
        from vitmodels.training.trainer import all_finite

        self._saver.join()
        trainer, (weights, state) = self._trainer, self._copies
        snapshot = Snapshot(trainer.updates, 0, self._arch, trainer.weights(weights), trainer.state(state))
        assert all_finite(weights.values())
        self._saver.save(snapshot)

    @property
    def busy(self) -> bool:
        return self._saver.busy


class Timm:
    """A net of timm, in PyTorch."""

    def __init__(self, arch: str, batch: int, side: int | None = None) -> None:
        import torch

        from benchmarks.torch_peer import import_timm

        self._torch = torch
        self._net = import_timm().create_model(arch, num_classes=CLASSES, img_size=side or 224)
        images, labels = inputs(batch, side or 224)
        self._x, self._y = torch.tensor(images), torch.tensor(labels)
        self._optimiser = torch.optim.AdamW(self._net.parameters(), lr=1e-4, weight_decay=0.05)
        self._saves: list[Path] = []
        self._saving: Future[Any] | None = None

    def forward(self) -> None:
        with self._torch.inference_mode():
            self._net(self._x)

    def step(self) -> None:
        self._optimiser.zero_grad()
        self._torch.nn.functional.cross_entropy(self._net(self._x), self._y).backward()
        self._optimiser.step()

    def save(self) -> None:
        from torch.distributed.checkpoint import async_save

        if self._saving is not None:
            self._saving.result()
        folder = Path(os.environ["BENCHMARK_FOLDER"]) / f"torch-{len(self._saves)}"
        state = {"weights": self._net.state_dict(), "optimiser": self._optimiser.state_dict()}
        self._saving = async_save(state, checkpoint_id=folder)
        self._saves.append(folder)
        for old in self._saves[:-2]:
            shutil.rmtree(old, ignore_errors=True)

    @property
    def busy(self) -> bool:
        return self._saving is not None and not self._saving.done()


LIBRARIES: dict[str, Callable[[str, int, int | None], Net]] = {
    "ours": Ours,
    "program": Program,
    "mindcv": MindCv,
    "timm": Timm,
}
