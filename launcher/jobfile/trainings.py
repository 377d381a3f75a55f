"""The settings that a new job file gets for an architecture: those of the model-zoo READMEs, which depend on the number of devices."""

from __future__ import annotations

from typing import Any

from launcher.jobfile.recipe import CONFIGS, locate
from vitmodels import recipe_file
from vitmodels.document.tree import plain
from vitmodels.recipe_keys import translate

RATES = {"vit_base_patch16_224": ("lr_init", {1: 0.02, 8: 0.18})}
"""Learning rates by the number of devices, where a README has several. Other recipes scale theirs by the global batch."""
EPOCHS = 300
"""Of an architecture without a recipe of its own."""


def settings(arch: str, devices: int) -> dict[str, Any]:
    """What `model.set` says: the length of the training, and a learning rate where it depends on the devices."""
    path = locate(f"{arch}.yaml", CONFIGS)
    recipe = translate(recipe_file.read_file(path)[0]).pairs if path is not None else {}
    values: dict[str, Any] = {"epochs": plain(recipe["epochs"].value) if "epochs" in recipe else EPOCHS}
    if arch in RATES:
        key, rates = RATES[arch]
        known = max(count for count in rates if count <= devices)
        values[key] = round(rates[known] * devices / known, 6)
    return values
