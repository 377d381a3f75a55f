"""A job file to a JobSpec and a recipe, with the place of every mistake and the origin of every value."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from launcher.jobfile import overrides, yamltree
from launcher.jobfile import validate as complaints
from launcher.jobfile.overrides import DEFAULT, Kind, Layer, Origin
from launcher.jobfile.problems import JobFileError, Place, Problem
from launcher.jobfile.spec import JobSpec
from launcher.jobfile.suggest import listing, nearest
from launcher.jobfile.yamltree import Node

if TYPE_CHECKING:
    from launcher.jobfile.recipe import Merged
    from vitmodels.config import Recipe

__all__ = ["JobFileError", "LoadedJob", "Origin", "Problem", "load_job"]

_RECIPE_PATH = ("model", "set")


@dataclass(frozen=True)
class LoadedJob:
    """A job as it was asked for.

    `recipe` is None for a program of one's own; `recipe_values` are the merged settings in either case.
    `origins` has an entry for each value of the spec (`resources.nodes`) and of the recipe (`recipe.epochs`).
    """

    path: Path
    spec: JobSpec
    recipe: Recipe | None
    recipe_values: Mapping[str, Any]
    origins: Mapping[str, Origin]
    source_text: str
    notes: tuple[str, ...] = field(default=())


def load_job(
    path: str | Path,
    *,
    overrides: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    defaults_file: Path | None = None,
) -> LoadedJob:
    """Read a job file with everything that overrides it. `env` is os.environ unless given.

    Raises JobFileError with every problem of the file, its recipe and the overrides.
    """
    return _Loading(Path(path), overrides, os.environ if env is None else env, defaults_file).run()


class _Loading:
    """One reading of one job file; collects problems on the way."""

    def __init__(
        self, path: Path, sets: Sequence[str], env: Mapping[str, str], defaults_file: Path | None
    ) -> None:
        self.path = path
        self.sets = sets
        self.env = env
        self.defaults_file = defaults_file or overrides.defaults_path(env)
        self.problems: list[Problem] = []
        self.kinds: dict[str, Kind] = {}

    def run(self) -> LoadedJob:
        from launcher.jobfile import recipe as recipefile

        data = _read(self.path)
        layers = [
            self.defaults_layer(),
            self.file_layer(data, self.path, Kind.file, required=True),
            *overrides.env_layers(self.env, _spell_env),
            *overrides.set_layers(self.sets, _spell),
        ]
        tree = self.merged(layers)
        unread = tuple(self.problems)
        if tree is None:
            raise JobFileError(self.problems)
        spec, wrong = complaints.check(
            JobSpec, tree, complaints.Voice(elsewhere=_elsewhere, similar=_similar, text="a job file")
        )
        self.problems += wrong
        model = tree.get("model")
        model = model if isinstance(model, yamltree.Mapping) else yamltree.Mapping(tree.place, ())
        program = tree.get("program")
        own_program = program is not None and yamltree.plain(program) is not None
        merged = recipefile.read(model, self.path.parent, own_program)
        self.problems += merged.problems
        recipe = None if own_program else self.recipe(merged)
        if self.problems or spec is None:
            raise JobFileError(_without_echoes(self.problems, unread))
        origins = {**self.spec_origins(spec, tree), **self.recipe_origins(recipe, merged.tree)}
        values: Any = recipe.json_dict() if recipe is not None else yamltree.plain(merged.tree)
        source = data.decode("utf-8-sig")
        return LoadedJob(self.path, spec, recipe, values, origins, source, merged.notes)

    # -- layers

    def defaults_layer(self) -> Layer:
        if not self.defaults_file.is_file():
            return Layer(Kind.defaults_file, None)
        return self.file_layer(
            _read(self.defaults_file), self.defaults_file, Kind.defaults_file, required=False
        )

    def file_layer(self, data: bytes, path: Path, kind: Kind, *, required: bool) -> Layer:
        self.kinds[str(path)] = kind
        node, problems = yamltree.compose(data, str(path))
        if isinstance(node, yamltree.Mapping) or node is None:
            return Layer(kind, node, tuple(problems))
        if isinstance(node, yamltree.Scalar) and node.value is None:
            if required:
                hint = f"launcher init {path} writes a commented one"
                problems.append(Problem.at(Place(str(path)), "the file is empty", hint=hint))
        else:
            message = "a job file is made of 'key: value' lines, and this is not"
            problems.append(Problem.at(node.place, message, hint="launcher init shows one"))
        return Layer(kind, None, tuple(problems))

    def merged(self, layers: Sequence[Layer]) -> yamltree.Mapping | None:
        """All layers as one tree; None when the job file itself can't be read."""
        trees = []
        for layer in layers:
            self.problems += layer.problems
            if layer.tree is not None:
                trees.append(layer.tree)
                for entry in layer.tree.entries if layer.kind in (Kind.env, Kind.set) else ():
                    self.kinds[entry.key_place.file] = layer.kind
        if not any(layer.tree for layer in layers if layer.kind is Kind.file):
            return None
        own = next(layer.tree for layer in layers if layer.kind is Kind.file and layer.tree)
        merged = overrides.merge(trees)
        return yamltree.Mapping(own.place, merged.entries, merged.size)

    # -- recipe

    def recipe(self, merged: Merged) -> Recipe | None:
        from launcher.jobfile import recipe as recipefile
        from vitmodels.config import Recipe

        recipe, problems = complaints.check(Recipe, merged.tree, recipefile.voice(merged.names))
        self.problems += problems
        return recipe

    # -- origins

    def origin(self, node: Node) -> Origin:
        kind = self.kinds.get(node.place.file, Kind.file)
        return Origin(kind, node.place.short)

    def spec_origins(self, spec: JobSpec, tree: yamltree.Mapping) -> dict[str, Origin]:
        origins = dict.fromkeys(_leaf_names(spec), DEFAULT)
        for path, node in overrides.leaves(tree):
            origins[".".join(path)] = self.origin(node)
        return origins

    def recipe_origins(self, recipe: Recipe | None, tree: yamltree.Mapping) -> dict[str, Origin]:
        names = list(type(recipe).model_fields) if recipe is not None else []
        origins = {f"recipe.{name}": DEFAULT for name in names}
        for entry in tree.entries:
            origins[f"recipe.{entry.key}"] = self.origin(entry.value)
        return origins


def _without_echoes(problems: Sequence[Problem], unread: Sequence[Problem]) -> list[Problem]:
    """Leave out what is said of a value only because its text could not be read."""
    places = {(p.file, p.line, p.column) for p in unread}
    return [p for p in problems if p in unread or (p.file, p.line, p.column) not in places]


def _leaf_names(section: BaseModel, prefix: str = "") -> list[str]:
    """The dotted names of all values of a spec that are not sections."""
    names = []
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            names += _leaf_names(value, f"{prefix}{name}.")
        elif not isinstance(value, dict):
            names.append(f"{prefix}{name}")
    return names


def _read(path: Path) -> bytes:
    from launcher.jobfile.recipe import read_bytes

    try:
        return read_bytes(path)
    except FileNotFoundError:
        folder = path.parent
        names = [p.name for p in folder.iterdir() if p.suffix in (".yaml", ".yml")] if folder.is_dir() else []
        near = nearest(path.name, names)
        hint = f"did you mean {folder / near}?" if near else f"launcher init {path} writes a commented one"
        what = "there is no such file"
    except IsADirectoryError:
        what, hint = "this is a folder, not a job file", ""
    except (OSError, ValueError) as error:
        what, hint = f"the file can't be read: {getattr(error, 'strerror', None) or error}", ""
    raise JobFileError([Problem.at(Place(str(path)), what, hint=hint)])


# -- spelling of override paths


def _spell(path: tuple[str, ...]) -> tuple[str, ...]:
    """`epochs` is short for model.set.epochs, unless the job file has a key of that name."""
    from launcher.jobfile.recipe import keys

    if len(path) == 1 and path[0] not in JobSpec.model_fields and path[0] in keys():
        return (*_RECIPE_PATH, path[0])
    return path


def _spell_env(path: tuple[str, ...]) -> tuple[str, ...]:
    """Variables are written in capitals; keys are not, except in free mappings such as `env`."""
    from launcher.jobfile.recipe import keys

    lowered = tuple(part.lower() for part in path)
    if lowered[:2] == _RECIPE_PATH:
        return lowered if lowered[2:3] and lowered[2] in keys() else (*lowered[:2], *path[2:])
    if lowered[0] == "env":
        return (lowered[0], *path[1:])
    return _spell(lowered)


def _elsewhere(key: str) -> str:
    """A hint on where a key belongs that was found in a wrong section; '' when it is known nowhere."""
    from launcher.jobfile.recipe import keys
    from launcher.jobfile.schema import schema_of

    schema = schema_of(JobSpec)
    sections = [name for name in schema.keys(()) if key in schema.keys((name,))]
    if sections:
        return f"it belongs under {listing(sections)}"
    if key in JobSpec.model_fields:
        return "it belongs to the top level of the file"
    return "it belongs under model.set, with the other recipe keys" if key in keys() else ""


def _similar(key: str) -> str:
    """A hint on the recipe key that an unknown key of the top level resembles."""
    from launcher.jobfile.recipe import SYNONYMS, keys

    near = SYNONYMS.get(key) or nearest(key, keys())
    return f"did you mean model.set.{near}?" if near else ""
