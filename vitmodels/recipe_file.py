"""From the text of a recipe to a Recipe: the way of the training programs, and of `launcher check`."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitmodels.config import Recipe
from vitmodels.document.problem import Place, Problem, in_order, without_echoes
from vitmodels.document.reader import read, start_of
from vitmodels.document.tree import KeyValue, Mapping, node_of, overlay
from vitmodels.errors import RecipeError
from vitmodels.recipe_keys import RecipeTerms, Translation, translate
from vitmodels.validation.check import check

EMPTY = Mapping(Place(""), ())


def load_recipe(path: str | Path, sets: Sequence[str] = ()) -> Recipe:
    """The recipe of a YAML or JSON file, with overrides `KEY=VALUE`. Raises RecipeError with every problem."""
    tree, problems = read_file(Path(path))
    over, wrong = read_overrides(sets)
    return _recipe(translate(tree), translate(over, is_file=False), [*problems, *wrong])


def make_recipe(values: MappingOf[str, Any], where: str = "recipe", sets: Sequence[str] = ()) -> Recipe:
    """The recipe of plain values, with overrides. Raises RecipeError with every problem; `where` stands for their place."""
    tree = node_of(dict(values), Place(where))
    assert isinstance(tree, Mapping)
    over, wrong = read_overrides(sets)
    return _recipe(translate(tree), translate(over, is_file=False), wrong)


def read_file(path: Path) -> tuple[Mapping, list[Problem]]:
    """The tree of a recipe file, empty where it can't be read, with the problems of its text."""
    try:
        data = start_of(path)
    except OSError as error:
        problem = Problem(Place(str(path)), f"the recipe can't be read: {error.strerror}")
        return EMPTY, [problem]
    node, problems = read(data, str(path))
    if node is not None and not isinstance(node, Mapping):
        problems.append(Problem(node.place, "a recipe is made of 'key: value' lines, and this is not"))
    return (node if isinstance(node, Mapping) else EMPTY), problems


def read_overrides(sets: Sequence[str]) -> tuple[Mapping, list[Problem]]:
    """The tree of `KEY=VALUE` texts, each value read as YAML; a later one wins."""
    layers, problems = [EMPTY], []
    for text in sets:
        key, equals, value = text.partition("=")
        start = Place(f"--set {text}", 1, len("--set ") + 1, f"--set {text}", in_file=False)
        if not equals or not key.strip():
            problems.append(Problem(start, "expected KEY=VALUE", hint="for example --set epochs=3"))
            continue
        node, wrong = read(value, f"--set {text}", in_file=False, prefix=f"--set {key}=")
        problems += wrong
        if node is not None:
            layers.append(Mapping(start, (KeyValue(key.strip(), start, node),)))
    return overlay(layers), problems


def validated(recipe: Translation) -> tuple[Recipe | None, list[Problem]]:
    """The values as a Recipe, or everything that is wrong with them."""
    return check(Recipe, recipe.tree, RecipeTerms(recipe.names))


def _recipe(base: Translation, over: Translation, problems: list[Problem]) -> Recipe:
    merged = over.over(base)
    recipe, wrong = validated(merged)
    ordered = in_order([*problems, *without_echoes([*merged.problems, *wrong], problems)])
    if recipe is None or ordered:
        raise RecipeError(ordered[0].headline, hint=ordered[0].hint, problems=ordered)
    return recipe
