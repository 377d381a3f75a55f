"""A job file to a JobSpec and a recipe, with the place of every mistake and the origin of every value."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from launcher.jobfile import overrides
from launcher.jobfile.args import filled, problems_of
from launcher.jobfile.files import BASE, JobFile, read_file, read_files, whole_text
from launcher.jobfile.overrides import DEFAULT, Kind, Layer, Origin
from launcher.jobfile.problems import JobFileError
from launcher.jobfile.recipe import JobRecipe, keys, recipe_of
from launcher.jobfile.spec import JobSpec
from launcher.jobfile.terms import JobFileTerms
from launcher.jobfile.variables import Expansion
from vitmodels.config import Recipe
from vitmodels.document.problem import Place, Problem, without_echoes
from vitmodels.document.tree import Mapping as Tree
from vitmodels.document.tree import Node, Scalar, leaves, overlay, plain
from vitmodels.recipe_file import validated
from vitmodels.recipe_keys import note_texts
from vitmodels.validation.check import check

__all__ = ["JobFileError", "LoadedJob", "Origin", "Problem", "load_job"]

_RECIPE_PATH = ("model", "set")
_WHOLE_PATH = re.compile(rf"(--set |{overrides.ENV_PREFIX})model", re.IGNORECASE)
"""The place of a value that was set under its whole path."""


@dataclass(frozen=True)
class LoadedJob:
    """A job as its file and its overrides give it.

    `recipe` is None for a program of one's own; `recipe_values` are the merged settings in either case.
    `source_text` is one whole job file, also for one with a `base`.
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
    loading = _Loading(Path(path), overrides, os.environ if env is None else env, defaults_file)
    return loading.job()


class _Loading:
    """One reading of one job file; collects problems on the way."""

    def __init__(
        self, path: Path, sets: Sequence[str], env: Mapping[str, str], defaults_file: Path | None
    ) -> None:
        self.path = path
        self.sets = sets
        self.env = env
        self.defaults_file = defaults_file or overrides.defaults_path(env)
        self.unread: list[Problem] = []  # of the texts
        self.problems: list[Problem] = []  # of their values
        self.kinds: dict[str, Kind] = {}
        self.outside: list[Layer] = []  # --set and the environment
        self.has_recipe = False  # in a file

    def job(self) -> LoadedJob:
        files = read_files(self.path)
        tree = self.merged(self.layers(files))
        if tree is None:
            raise JobFileError(self.unread)
        spec = self.spec(tree)
        found = self.job_recipe(tree)
        recipe = None if found.own_program else self.recipe(found)
        if spec is not None:
            self.problems += problems_of(spec, tree)
        self.give_up_on_problems()
        assert spec is not None
        spec = filled(spec)
        values: Any = recipe.json_dict() if recipe is not None else plain(found.values.tree)
        origins = {**self.spec_origins(spec, tree), **self.recipe_origins(recipe, found.values.tree)}
        notes = note_texts(found.notes)
        return LoadedJob(self.path, spec, recipe, values, origins, whole_text(files), notes)

    def give_up_on_problems(self) -> None:
        problems = [*self.unread, *without_echoes(self.problems, self.unread)]
        if problems:
            raise JobFileError(problems)

    # -- layers

    def layers(self, files: Sequence[JobFile]) -> list[Layer]:
        return [
            self.defaults_layer(),
            *(self.file_layer(file, Kind.file) for file in files),
            *overrides.env_layers(self.env, _spell_env),
            *overrides.set_layers(self.sets, _spell),
        ]

    def defaults_layer(self) -> Layer:
        if not self.defaults_file.is_file():
            return Layer(Kind.defaults_file, None)
        return self.file_layer(read_file(self.defaults_file), Kind.defaults_file)

    def file_layer(self, file: JobFile, kind: Kind) -> Layer:
        path, node, problems = file.path, file.node, list(file.problems)
        self.kinds[str(path)] = kind
        if isinstance(node, Tree) or node is None:
            return Layer(kind, node, tuple(problems))
        if isinstance(node, Scalar) and node.value is None:
            if kind is Kind.file:
                hint = f"launcher init {path} writes a commented one"
                problems.append(Problem(Place(str(path)), "the file is empty", hint=hint))
        else:
            message = "a job file is made of 'key: value' lines, and this is not"
            problems.append(Problem(node.place, message, hint="launcher init shows one"))
        return Layer(kind, None, tuple(problems))

    def merged(self, layers: Sequence[Layer]) -> Tree | None:
        """All layers as one tree; None when the job file itself can't be read."""
        trees = []
        self.outside = [layer for layer in layers if layer.kind in (Kind.env, Kind.set)]
        for layer in layers:
            model = layer.tree.get("model") if layer.tree is not None else None
            if layer not in self.outside and isinstance(model, Tree):
                self.has_recipe |= {"config", "set"} & {pair.key for pair in model.pairs} != set()
            self.unread += layer.problems
            if layer.tree is not None:
                trees.append(layer.tree)
                for pair in layer.tree.pairs if layer.kind in (Kind.env, Kind.set) else ():
                    self.kinds[pair.key_place.file] = layer.kind
        own = [layer.tree for layer in layers if layer.kind is Kind.file]
        if own[-1] is None:
            return None
        expansion = Expansion(self.env)
        merged = expansion.tree(overlay(trees))
        self.unread += expansion.problems
        return Tree(own[-1].place, merged.pairs, merged.size)

    # -- values

    def spec(self, tree: Tree) -> JobSpec | None:
        spec, problems = check(JobSpec, tree, JobFileTerms())
        self.problems += problems
        if spec is not None and spec.base is not None and (base := tree.get(BASE)):
            message = "only a job file is based on another one"
            self.problems.append(Problem(base.place, message, BASE, "write it in the job file"))
        return spec

    def job_recipe(self, tree: Tree) -> JobRecipe:
        model, program = tree.get("model"), tree.get("program")
        own_program = program is not None and plain(program) is not None
        if own_program:
            self.problems += self.useless_keys()
        section = model if isinstance(model, Tree) else Tree(tree.place, ())
        recipe = recipe_of(section, self.path.parent, own_program=own_program)
        self.unread += recipe.unread
        self.problems += recipe.problems
        return recipe

    def useless_keys(self) -> list[Problem]:
        """Short names of recipe keys outside the file, for a program whose job file has no recipe: they were meant for vitmodels."""
        if self.has_recipe:
            return []
        found = []
        for layer in self.outside:
            for path, node in leaves(layer.tree) if layer.tree is not None else ():
                if path[:2] == _RECIPE_PATH and not _WHOLE_PATH.match(node.place.file):
                    key = path[-1]
                    message = f"'{key}' is a key of recipes, which a program of one's own does not read"
                    hint = f"write {{args.{key}}} in program, and set args.{key}"
                    found.append(Problem(node.place, message, ".".join(map(str, path)), hint))
        return found

    def recipe(self, found: JobRecipe) -> Recipe | None:
        recipe, problems = validated(found.values)
        self.problems += problems
        return recipe

    # -- origins

    def origin(self, node: Node) -> Origin:
        kind = self.kinds.get(node.place.file, Kind.file)
        return Origin(kind, node.place.short)

    def spec_origins(self, spec: JobSpec, tree: Tree) -> dict[str, Origin]:
        origins = dict.fromkeys(_leaf_names(spec), DEFAULT)
        for path, node in leaves(tree):
            origins[".".join(path)] = self.origin(node)
        return origins

    def recipe_origins(self, recipe: Recipe | None, tree: Tree) -> dict[str, Origin]:
        names = list(type(recipe).model_fields) if recipe is not None else []
        origins = {f"recipe.{name}": DEFAULT for name in names}
        for pair in tree.pairs:
            origins[f"recipe.{pair.key}"] = self.origin(pair.value)
        return origins


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


# -- spelling of override paths


def _spell(path: tuple[str, ...]) -> tuple[str, ...]:
    """`epochs` is short for model.set.epochs, unless the job file has a key of that name."""
    if len(path) == 1 and path[0] not in JobSpec.model_fields and path[0] in keys():
        return (*_RECIPE_PATH, path[0])
    return path


def _spell_env(path: tuple[str, ...]) -> tuple[str, ...]:
    """Variables are written in capitals; keys are not, except in free mappings such as `env`."""
    lowered = tuple(part.lower() for part in path)
    if lowered[:2] == _RECIPE_PATH:
        return lowered if lowered[2:3] and lowered[2] in keys() else (*lowered[:2], *path[2:])
    if lowered[0] == "env":
        return (lowered[0], *path[1:])
    return _spell(lowered)
