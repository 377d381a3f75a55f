"""Where a training is: epoch, step, and what a resumed one makes of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class Position:
    """Where training is. `offset` is the global step of epoch 0: not 0 after a resume at another batch."""

    per_epoch: int
    epoch: int = 0  # finished epochs
    index: int = 0  # updates made in the current one
    offset: int = 0
    loss_sum: float = 0.0  # of the current epoch's updates
    without_loss: int = 0  # updates of the current epoch that are not in the sum

    @property
    def step(self) -> int:
        """Updates since the beginning, over all attempts."""
        return self.offset + self.epoch * self.per_epoch + self.index

    @property
    def local_step(self) -> int:
        """The step in terms of this run's epochs, for the learning rate."""
        return self.epoch * self.per_epoch + self.index

    @property
    def loss(self) -> float:
        """The mean over the current epoch's updates; NaN when none of them has a loss."""
        counted = self.index - self.without_loss
        return self.loss_sum / counted if counted else math.nan

    def add_loss(self, loss: float, *, applied: bool) -> None:
        """Count the loss of an update. One that overflowed, and so was not applied, tells nothing of the weights."""
        if applied or math.isfinite(loss):
            self.loss_sum += loss
        else:
            self.without_loss += 1

    def as_dict(self) -> dict[str, Any]:
        """What `continue_from` takes from a set, besides its step and epoch."""
        fields = ("per_epoch", "index", "offset", "loss_sum", "without_loss")
        return {field: getattr(self, field) for field in fields}

    def next_epoch(self) -> None:
        self.epoch, self.index, self.loss_sum, self.without_loss = self.epoch + 1, 0, 0.0, 0

    def continue_from(self, manifest: Mapping[str, Any], global_batch: int) -> str:
        """Take the place of a set. A note, and the begin of its epoch, when steps are of another size than before."""
        steps, images = manifest["per_epoch"], manifest.get("global_batch", global_batch)
        self.epoch = manifest["epoch"]
        same = steps == self.per_epoch and (images == global_batch or manifest["index"] == 0)
        if same:
            self.index, self.offset = manifest["index"], manifest["offset"]
            self.loss_sum, self.without_loss = manifest["loss_sum"], manifest.get("without_loss", 0)
            return ""
        self.offset = manifest["step"] - self.epoch * self.per_epoch
        change = f"an epoch had {steps} steps and has {self.per_epoch} now"
        if steps == self.per_epoch:
            change = f"a step had {images} images and has {global_batch} now"
        return f"{change}; epoch {self.epoch + 1} starts from its beginning"
