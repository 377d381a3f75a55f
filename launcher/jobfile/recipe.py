"""The recipe of a job: the file named by `model.config`, overridden by `model.set` and `model.arch`.

The file is looked for in the current directory, beside the job file, then among the recipes that are installed
with vitmodels. Without `model.config`, the installed recipe of `model.arch` is used when there is one.
Reading, translating and checking are vitmodels' own, so that a training program finds what was checked here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vitmodels import config, recipe_file
from vitmodels.archs import resolve_arch
from vitmodels.document.problem import Place, Problem
from vitmodels.document.tree import KeyValue, Mapping, Node, Scalar, overlay
from vitmodels.errors import UnknownArch
from vitmodels.recipe_keys import Note, Translation, known_keys, translate
from vitmodels.suggest import listing, nearest

CONFIGS = Path(config.__file__).parent / "configs"
_LOOKED_IN = "Looked in the current directory, beside the job file and among the installed recipes"


@dataclass(frozen=True)
class ArchReplaced:
    """The job's `model.arch` differs from the architecture that the recipe file names."""

    arch: str
    of_file: str
    place: Place

    def __str__(self) -> str:
        return f"model.arch {self.arch} replaces {self.of_file}, which the recipe names ({self.place.short})"


@dataclass(frozen=True)
class JobRecipe:
    """A recipe before validation, in our names for keys.

    `unread` are problems of its text, `problems` those of its keys. A program of one's own gets the values as they are written: `own_program` is true,
    and nothing is translated.
    """

    own_program: bool
    values: Translation
    notes: tuple[Note | ArchReplaced, ...]
    unread: tuple[Problem, ...]
    problems: tuple[Problem, ...]


def keys() -> frozenset[str]:
    """Every key a recipe may have, the vit_base README's names included."""
    return frozenset(known_keys())


def locate(name: str, *folders: Path) -> Path | None:
    """The recipe file of that name, or None. `folders`: where files lie that name it."""
    if name.startswith("~"):
        name = os.path.expanduser(name)  # noqa: PTH111 - never raises
    options = [
        Path(name),
        *(folder / name for folder in folders),
        CONFIGS / name,
        CONFIGS / f"{name}.yaml",
        CONFIGS.parent.parent / name,
    ]
    return next((_short(path) for path in options if path.is_file()), None)


def installed() -> list[str]:
    """The names of the recipes that come with vitmodels."""
    return sorted(path.name for path in CONFIGS.glob("*.yaml"))


def recipe_of(model: Mapping, job_dir: Path, *, own_program: bool) -> JobRecipe:
    """The recipe of a job's `model` section. Wrong parts of the section itself are left to its own validation."""
    base, unread = _base(model, job_dir, own_program)
    section = model.get("set")
    over = section if isinstance(section, Mapping) else Mapping(model.place, ())
    if own_program:
        pairs = {pair.key: pair for pair in overlay([base, over]).pairs}
        return JobRecipe(True, Translation(base.place, pairs, {}), (), tuple(unread), ())
    below = translate(base)
    above = translate(over, prefix="model.set.", is_file=False)
    merged = above.over(below)
    arch = _text(model.get("arch"))
    if arch is None:
        return JobRecipe(False, merged, merged.notes, tuple(unread), merged.problems)
    conflict = _arch_conflict(arch, _text(over.get("arch")))
    notes = () if over.get("arch") else _arch_replaced(arch, below)
    values = merged.replaced(KeyValue("arch", arch.place, arch), "model.arch")
    return JobRecipe(False, values, (*merged.notes, *notes), tuple(unread), (*merged.problems, *conflict))


def _base(model: Mapping, job_dir: Path, own_program: bool) -> tuple[Mapping, list[Problem]]:
    """The tree of the recipe file, empty where there is none."""
    nothing = Mapping(model.place, ())
    named, arch = _text(model.get("config")), _text(model.get("arch"))
    if named is not None:
        beside = [Path(named.place.file).parent] if named.place.in_file else []
        path = locate(named.text, *beside, job_dir)
        if path is None:
            return nothing, [_no_such_recipe(named)]
    elif arch is not None and not own_program:
        path = locate(f"{_resolved(arch.text)}.yaml", CONFIGS)
    else:
        path = None
    if path is None:
        return nothing, []
    tree, problems = recipe_file.read_file(path)
    return (tree if tree.pairs else nothing), problems


def _no_such_recipe(named: Scalar) -> Problem:
    near = nearest(Path(named.text).name, installed())
    first = f"did you mean {near}?" if near else f"installed recipes: {listing(installed(), 'and')}."
    message = f"there is no recipe file '{named.text}'"
    return Problem(named.place, message, "model.config", f"{first} {_LOOKED_IN}")


def _arch_conflict(arch: Scalar, in_set: Scalar | None) -> list[Problem]:
    """`model.arch` and `model.set.arch` must agree."""
    if in_set is None or _resolved(arch.text) == _resolved(in_set.text):
        return []
    message = f"'{in_set.text}' contradicts model.arch, which is '{arch.text}'"
    hint = "keep one of the two"
    return [Problem(in_set.place, message, "model.set.arch", hint, arch.place, "model.arch is at")]


def _arch_replaced(arch: Scalar, below: Translation) -> tuple[ArchReplaced, ...]:
    """`model.arch` wins over the recipe file, with a note."""
    pair = below.pairs.get("arch")
    old = _text(pair.value) if pair else None
    if old is None or _resolved(old.text) == _resolved(arch.text):
        return ()
    return (ArchReplaced(arch.text, old.text, old.place),)


def _text(node: Node | None) -> Scalar | None:
    return node if isinstance(node, Scalar) and isinstance(node.value, str) else None


def _resolved(arch: str) -> str:
    """The canonical name of an architecture; an unknown name unchanged."""
    try:
        return resolve_arch(arch)
    except UnknownArch:
        return arch


def _short(path: Path) -> Path:
    """The path relative to the current directory when it lies below it."""
    relative = os.path.relpath(path)
    return path.absolute() if relative.startswith("..") else Path(relative)
