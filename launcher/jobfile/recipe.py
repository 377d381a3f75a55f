"""The recipe of a job: the file named by `model.config`, laid under by nothing, laid over by `model.set`.

The file is looked for in the current directory, beside the job file, then among the recipes that are installed
with vitmodels. Without `model.config`, the installed recipe of `model.arch` is used when there is one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.jobfile import validate as complaints
from launcher.jobfile import yamltree
from launcher.jobfile.problems import Place, Problem
from launcher.jobfile.suggest import listing, nearest
from launcher.jobfile.yamltree import Entry, Node
from vitmodels import config as recipes
from vitmodels.errors import VitError

SYNONYMS = {
    "learning_rate": "base_lr",
    "lr": "base_lr",
    "num_epochs": "epochs",
    "max_epochs": "epochs",
    "warmup_epochs": "warmup_length",
    "scheduler": "lr_scheduler",
    "opt": "optimizer",
    "num_workers": "num_parallel_workers",
    "workers": "num_parallel_workers",
    "dropout": "drop_rate",
    "clip_grad": "clip_global_norm_value",
    "img_size": "image_size",
    "model": "arch",
    "aa": "auto_augment",
    "drop_path_rate": "drop_path",
    "eps": "epsilon",
}  # what keys are called elsewhere

CONFIGS = Path(recipes.__file__).parent / "configs"


@dataclass(frozen=True)
class Merged:
    """A recipe before validation. `tree` has our names for keys; `names` says what each was called, and where:
    `epoch_size` in a recipe file, `model.set.epochs` elsewhere.
    """

    tree: yamltree.Mapping
    names: Mapping[str, str]
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def keys() -> frozenset[str]:
    """Every key a recipe may have, the vit_base README's names included."""
    return frozenset(recipes.known_keys())


def locate(name: str, job_dir: Path) -> Path | None:
    """The recipe file of that name, or None."""
    options = [
        Path(name),
        job_dir / name,
        CONFIGS / name,
        CONFIGS / f"{name}.yaml",
        CONFIGS.parent.parent / name,
    ]
    return next((_short(path) for path in options if path.is_file()), None)


def installed() -> list[str]:
    """The names of the recipes that come with vitmodels."""
    return sorted(path.name for path in CONFIGS.glob("*.yaml"))


def read(model: yamltree.Mapping, job_dir: Path, own_program: bool) -> Merged:
    """The merged recipe of a job's `model` section. Wrong parts of the section itself are left out silently."""
    base, problems = _base(model, job_dir, own_program)
    over = model.get("set")
    over_tree = over if isinstance(over, yamltree.Mapping) else yamltree.Mapping(model.place, ())
    if own_program:
        from launcher.jobfile.overrides import merge

        return Merged(merge([base, over_tree]), {}, (), tuple(problems))
    return _translate(base, over_tree, model, problems)


def _base(
    model: yamltree.Mapping, job_dir: Path, own_program: bool
) -> tuple[yamltree.Mapping, list[Problem]]:
    """The tree of the recipe file."""
    nothing = yamltree.Mapping(model.place, ())
    named = _text(model.get("config"))
    if named is None:
        arch = _text(model.get("arch"))
        path = None if own_program or arch is None else locate(f"{_resolved(arch.text)}.yaml", CONFIGS)
        return (nothing, []) if path is None else _read_file(path, nothing)
    path = locate(named.text, job_dir)
    if path is None:
        near = nearest(Path(named.text).name, installed())
        hint = f"did you mean {near}? " if near else f"installed recipes: {listing(installed(), 'and')}. "
        hint += "Looked in the current directory, beside the job file and among the installed recipes"
        problem = Problem.at(
            named.place, f"there is no recipe file '{named.text}'", path="model.config", hint=hint
        )
        return nothing, [problem]
    return _read_file(path, nothing)


def _read_file(path: Path, nothing: yamltree.Mapping) -> tuple[yamltree.Mapping, list[Problem]]:
    try:
        data = read_bytes(path)
    except OSError as error:
        return nothing, [Problem.at(Place(str(path)), f"the recipe can't be read: {error.strerror}")]
    node, problems = yamltree.compose(data, str(path))
    if node is not None and not isinstance(node, yamltree.Mapping):
        problems.append(Problem.at(node.place, "a recipe is made of 'key: value' lines, and this is not"))
    return (node, problems) if isinstance(node, yamltree.Mapping) else (nothing, problems)


def read_bytes(path: Path) -> bytes:
    """The start of a file, one byte more than is accepted, so that a huge file costs nothing. Raises OSError."""
    with path.open("rb") as file:
        return file.read(yamltree.MAX_BYTES + 1)


def _translate(
    base: yamltree.Mapping, over: yamltree.Mapping, model: yamltree.Mapping, problems: list[Problem]
) -> Merged:
    """Both trees in our names, `over` on top; `model.arch` beats the recipe file and must agree with `model.set`."""
    entries: dict[str, Entry] = {}
    names: dict[str, str] = {}
    notes: list[str] = []
    for source_tree, implied, prefix in ((base, True, ""), (over, False, "model.set.")):
        try:
            values, said = recipes.normalise_keys(_as_dict(source_tree))
        except VitError as error:
            own_names = {entry.key: f"{prefix}{entry.key}" for entry in source_tree.entries}
            problems.append(complaints.conflict(source_tree, error.what, voice(own_names)))
            values, said = _one_name_each(source_tree), []
        notes += said if implied else [note for note in said if source_tree.get(note.split()[0])]
        for key, value in values.items():
            source = _source(source_tree, key)
            if source is None and not implied:
                continue  # a README's unsaid default, which an override does not bring
            entries[key] = _entry(key, value, source, source_tree)
            names[key] = f"{prefix}{source.key}" if source else key
    if _lay_arch(model, over, entries, notes, problems):
        names["arch"] = "model.arch"
    tree = yamltree.Mapping(base.place, tuple(entries.values()))
    return Merged(tree, names, tuple(_fewer(notes)), tuple(problems))


def _fewer(notes: Iterable[str]) -> Iterator[str]:
    """The notes, with all translations of keys in one."""
    read_as = [note.split(" is read as ") for note in dict.fromkeys(notes)]
    pairs = [f"{words[0]} is {words[1]}" for words in read_as if len(words) == 2]
    if pairs:
        yield f"keys of the vit_base README: {', '.join(pairs)}"
    yield from (words[0] for words in read_as if len(words) == 1)


def _entry(key: str, value: object, source: Entry | None, tree: yamltree.Mapping) -> Entry:
    if source is None:
        return Entry(key, tree.place, yamltree.Scalar(tree.place, value, str(value)))  # type: ignore[arg-type]
    return Entry(key, source.key_place, source.value)


def _lay_arch(
    model: yamltree.Mapping,
    over: yamltree.Mapping,
    entries: dict[str, Entry],
    notes: list[str],
    problems: list[Problem],
) -> bool:
    """Put model.arch into the recipe; False when there is none."""
    arch, set_arch, file_arch = _text(model.get("arch")), _text(over.get("arch")), entries.get("arch")
    if arch is None:
        return False
    if set_arch is not None and _resolved(arch.text) != _resolved(set_arch.text):
        message = f"'{set_arch.text}' contradicts model.arch, which is '{arch.text}'"
        problems.append(
            Problem.at(
                set_arch.place,
                message,
                path="model.set.arch",
                hint="keep one of the two",
                related=arch.place,
                related_text="model.arch is at",
            )
        )
    old = _text(file_arch.value) if file_arch and set_arch is None else None
    if old is not None and _resolved(old.text) != _resolved(arch.text):
        notes.append(
            f"model.arch {arch.text} replaces {old.text}, which the recipe names ({old.place.short})"
        )
    entries["arch"] = Entry("arch", arch.place, arch)
    return True


def _one_name_each(tree: yamltree.Mapping) -> dict[str, object]:
    """Our names for the keys of a tree whose keys exclude each other: the first of several is taken."""
    values: dict[str, object] = {}
    special = keys() - set(recipes.Recipe.model_fields) - set(recipes.ALIASES)
    for entry in tree.entries:
        if entry.key not in special:
            values.setdefault(recipes.ALIASES.get(entry.key, entry.key), yamltree.plain(entry.value))
    return values


def voice(names: Mapping[str, str]) -> complaints.Voice:
    """Recipe values go by the names that were used for them."""

    def name(path: complaints.Path, _place: Place) -> str:
        return complaints.dotted((names.get(str(path[0]), str(path[0])), *path[1:])) if path else ""

    return complaints.Voice(
        name, known_elsewhere, text="a recipe", help="launcher schema --recipe explains all keys"
    )


def known_elsewhere(key: str) -> str:
    """A hint for a recipe key as other frameworks call it."""
    ours = SYNONYMS.get(key.lower())
    return f"did you mean '{ours}'?" if ours else ""


def _source(tree: yamltree.Mapping, key: str) -> Entry | None:
    """The entry that a key in our names was made from."""
    names: Iterable[str] = (key, *(alias for alias, ours in recipes.ALIASES.items() if ours == key))
    if key == "pretrained":
        names = (*names, "checkpoint_path")
    return next((entry for name in names if (entry := tree.entry(name)) is not None), None)


def _as_dict(tree: yamltree.Mapping) -> dict[str, object]:
    return {entry.key: yamltree.plain(entry.value) for entry in tree.entries}


def _text(node: Node | None) -> yamltree.Scalar | None:
    return node if isinstance(node, yamltree.Scalar) and isinstance(node.value, str) else None


def _resolved(arch: str) -> str:
    from vitmodels.archs import resolve_arch

    try:
        return resolve_arch(arch)
    except VitError:
        return arch


def _short(path: Path) -> Path:
    """The path relative to the current directory when it lies below it."""
    relative = os.path.relpath(path)
    return path.absolute() if relative.startswith("..") else Path(relative)
