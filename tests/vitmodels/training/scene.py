"""A training loop over a trainer whose losses and weights are made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from vitmodels.progress import Progress
from vitmodels.recipe_file import make_recipe
from vitmodels.training.checkpoint import list_sets
from vitmodels.training.loop import Loop
from vitmodels.training.report import Reporter
from vitmodels.training.scoring import Score
from vitmodels.training.trainer import StepResult

STEPS = 4


class Scene:
    """A loop of one rank over `STEPS` steps; `before_step` runs before each of them."""

    def __init__(self, folder: Path, losses: list[float], weight: float = 1.0, **recipe: Any) -> None:
        self.folder, self.losses, self.weight, self.evaluated = folder, iter(losses), weight, 0
        self.events: list[str] = []
        self.settle: Callable[[], None] = lambda: self.events.append("settled")
        self.before_step: Callable[[int], None] = lambda step: None
        self.recipe = make_recipe({"arch": "vit_digits", "num_classes": 3, "epochs": 1, **recipe})
        trainer = SimpleNamespace(
            step=self._step,
            params=[SimpleNamespace(asnumpy=self._weights)],
            weights=self._copied,
            state=lambda into: {"s": np.zeros(1)},
            scale=SimpleNamespace(value=1.0),
            decayed=1,
        )
        progress = Progress(folder, 0)
        group: Any = SimpleNamespace(
            rank=SimpleNamespace(first=True, id=0),
            size=1,
            device="CPU",
            gather=lambda value: np.array([value]),
            settle=self._settle,
        )
        self.loop = Loop(
            self.recipe,
            folder,
            group,
            trainer,  # type: ignore[arg-type]
            SimpleNamespace(slicing=SimpleNamespace(steps=STEPS), epoch=self._epoch),  # type: ignore[arg-type]
            self._evaluate,
            Reporter(progress, epochs=1, total_steps=STEPS, global_batch=1, prints=False),
            lambda: False,
            SimpleNamespace(before=lambda step: None, after=lambda step: None),  # type: ignore[arg-type]
        )

    def _weights(self) -> np.ndarray:
        return np.full(3, self.weight, np.float32)

    def _copied(self, into: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.events.append("copied")
        return {"w": self._weights()}

    def _settle(self) -> None:
        self.settle()

    def _step(self, micros: list[Any], lr: float, stop: bool) -> StepResult:
        self.before_step(self.loop.at.step + 1)
        return StepResult(next(self.losses), stop, True, 1.0)

    def _epoch(self, number: int, index: int) -> Iterator[list[Any]]:
        return iter([[]] * (STEPS - index))

    def _evaluate(self) -> Score:
        self.evaluated += 1
        return Score(0.5, 1.0, 4, 0, 0.1)

    def saved(self) -> list[int]:
        return [each.step for each in list_sets(self.folder / "checkpoints")]
