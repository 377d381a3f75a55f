"""Which weights a program uses: one answer for evaluate, export, convert and `pretrained`.

A name stands for a checkpoint set or for a file of weights:

    latest          the newest set of the run; an error when it is damaged, unless older ones are allowed
    best            the set that best.json names
    step-88         that set of the run, also as checkpoints/step-88 or as a path
    RUN, RUN/checkpoints   the newest set of another run
    FILE            .safetensors, .ckpt, .npz, .pth, or the .safetensors.index.json or .bin.index.json of several files
    FOLDER          with one such file or index in it

Of a set that has averaged weights (EMA) these are used, else the raw ones; `parameters` asks for one kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vitmodels.config import Recipe
from vitmodels.errors import CheckpointError
from vitmodels.images.classes import NAMELESS, Classes
from vitmodels.nets.layouts import order_of, origin_of
from vitmodels.nets.weightfiles import INDEXES, SUFFIXES, Weights, read_weights
from vitmodels.recipe_file import load_recipe, make_recipe
from vitmodels.training.checkpoint import (
    MANIFEST,
    CheckpointSet,
    Skipped,
    checked_set,
    newest_set,
    read_best,
)

Parameters = Literal["ema", "raw"]


@dataclass(frozen=True)
class Source:
    """Weights under the names of their file, and where they come from. `parameters` is None for a file without EMA."""

    path: Path
    weights: Weights
    parameters: Parameters | None = None
    checkpoint: CheckpointSet | None = None
    skipped: tuple[Skipped, ...] = ()
    classes: Classes = NAMELESS

    def facts(self, run_dir: Path | None = None) -> dict[str, Any]:
        """What a result says of its weights. A path inside of the run is relative to it."""
        path = self.path.resolve()
        inside = run_dir is not None and path.is_relative_to(run_dir.resolve())
        manifest = self.checkpoint.manifest if self.checkpoint else {}
        return {
            "source": "checkpoint" if self.checkpoint else "file",
            "file": str(path.relative_to(run_dir.resolve()) if inside and run_dir else path),
            "step": manifest.get("step"),
            "epoch": manifest.get("epoch"),
            "parameters": self.parameters,
            "skipped": [{"checkpoint": one.path.name, "reason": one.reason} for one in self.skipped],
        }


def find_source(
    name: str, run_dir: Path | None, *, parameters: Parameters | None = None, allow_older: bool = False
) -> Source:
    """The weights of that name. Raises CheckpointError when they are missing or damaged."""
    if name in ("latest", "best"):
        if run_dir is None:
            raise CheckpointError(f"{name} needs a run directory", hint="add --run-dir DIR, or name a file")
        folder = run_dir / "checkpoints"
        return _newest(folder, parameters, allow_older) if name == "latest" else _best(folder, parameters)
    path = _locate(name, run_dir)
    if path.is_file():
        if path.suffix == ".safetensors" and (path.parent / MANIFEST).is_file():
            return _of_set(checked_set(path.parent), parameters)
        return _of_file(path, parameters)
    if (path / MANIFEST).is_file():
        return _of_set(checked_set(path), parameters)
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    if any(folder.glob("step-*")):
        return _newest(folder, parameters, allow_older)
    files = sorted(one for one in path.iterdir() if one.name.endswith(INDEXES))
    files = files or sorted(one for one in path.iterdir() if one.suffix in SUFFIXES)
    if len(files) == 1:
        return _of_file(files[0], parameters)
    listing = f"{len(files)} files of weights" if files else "no checkpoint and no file of weights"
    raise CheckpointError(f"{path} holds {listing}", hint="name one file or one step-<n> folder")


def _locate(name: str, run_dir: Path | None) -> Path:
    places = [Path(name)]
    if run_dir is not None:
        places += [run_dir / name, run_dir / "checkpoints" / name]
    for path in places:
        if path.exists():
            return path
    hint = "use latest, best, step-<n>, or the path of a set or a file"
    raise CheckpointError(f"there is no checkpoint {name}", hint=hint)


def _newest(folder: Path, parameters: Parameters | None, allow_older: bool) -> Source:
    newest, skipped = newest_set(folder)
    if skipped and not allow_older:
        older = f"--allow-older uses {newest.path.name}" if newest else "no older one is complete"
        hint = f"{older}; or name another one with --checkpoint"
        raise CheckpointError(f"the newest checkpoint is damaged: {skipped[0].reason}", hint=hint)
    if newest is None:
        raise CheckpointError(f"no complete checkpoint in {folder}")
    return _of_set(newest, parameters, tuple(skipped))


def _best(folder: Path, parameters: Parameters | None) -> Source:
    best = read_best(folder)
    if best is None:
        raise CheckpointError(f"{folder}/best.json names no checkpoint", hint="use latest")
    return _of_set(checked_set(folder / f"step-{best['step']}"), parameters)


def _of_set(
    checkpoint: CheckpointSet, parameters: Parameters | None, skipped: tuple[Skipped, ...] = ()
) -> Source:
    averages = checkpoint.averages() if parameters != "raw" else {}
    if parameters == "ema" and not averages:
        raise CheckpointError(
            f"{checkpoint.path} has no averaged weights", hint="use --parameters raw, or train with ema"
        )
    weights = {**checkpoint.weights(), **averages}
    return Source(
        checkpoint.path,
        weights,
        "ema" if averages else "raw",
        checkpoint,
        skipped,
        Classes.from_dict(checkpoint.manifest),
    )


def _of_file(path: Path, parameters: Parameters | None) -> Source:
    contents = read_weights(path)
    if parameters == "ema" and not contents.averages:
        raise CheckpointError(f"{path} has no averaged weights", hint="use --parameters raw")
    classes = Classes.from_dict(contents.about, order_of(contents.weights))
    if contents.averages and parameters != "raw":
        return Source(path, contents.averages, "ema", classes=classes)
    return Source(path, contents.weights, "raw" if contents.averages else None, classes=classes)


def recipe_of(source: Source, sets: Sequence[str]) -> Recipe:
    """A recipe for weights without one: that of their checkpoint, else the one that comes with their architecture.

    `sets` are overrides. Raises CheckpointError when the architecture is unknown, and RecipeError.
    """
    manifest = source.checkpoint.manifest if source.checkpoint else {}
    if "recipe" in manifest:
        return make_recipe(manifest["recipe"], f"the recipe of {source.path}", sets)
    origin = origin_of(source.weights)
    facts = {"arch": origin.arch, "num_classes": origin.num_classes, "image_size": origin.image_size}
    packaged = Path(__file__).parents[1] / "configs" / f"{origin.arch}.yaml"
    if packaged.is_file():
        return load_recipe(packaged, [*(f"{key}={value}" for key, value in facts.items()), *sets])
    return make_recipe(facts, f"the sizes of {source.path}", sets)
