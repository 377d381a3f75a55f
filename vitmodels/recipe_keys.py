"""The keys of a recipe as people know them: our names, those of the vit_base README, those of other frameworks.

`translate` turns a recipe as written into our names. It decides nothing silently: each change is a Note.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vitmodels.config import Recipe
from vitmodels.document.problem import Place, Problem
from vitmodels.document.tree import KeyValue, Mapping, Node, Path, Scalar, dotted, plain
from vitmodels.validation.report import rule_problem
from vitmodels.validation.rule import RuleError
from vitmodels.validation.terms import Terms

ALIASES: dict[str, str] = {
    "name": "set",
    "lr_init": "base_lr",
    "epoch_size": "epochs",
    "data_path": "data_url",
    "val_data_path": "val_data_url",
    "image_height": "image_size",
    "image_width": "image_size",
}
"""The keys of the vit_base README and what they are called here."""

_SPECIAL = frozenset({"pre_trained", "checkpoint_path", "device_id"})
"""Keys of the vit_base README that are not one field of ours."""

_VIT_BASE_DEFAULTS = {
    "arch": "vit_base_patch16_224",
    "optimizer": "momentum",
    "lr_scale": "none",
    "amp_level": "auto",
}
"""What that README leaves unsaid and its code does: plain momentum SGD at the stated rate."""

_VIT_BASE_SIGNS = ("lr_init", "epoch_size")
"""Keys that only a recipe of that README has."""

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
}
"""What keys are called in other frameworks. Not accepted, but recognised in messages."""


def known_keys() -> list[str]:
    """Every key that a recipe file may hold: our names and those of the vit_base README."""
    return sorted({*Recipe.model_fields, *ALIASES, *_SPECIAL})


@dataclass(frozen=True)
class Renamed:
    """A key of the vit_base README was read as one of ours."""

    key: str
    ours: str

    def __str__(self) -> str:
        return f"{self.key} is {self.ours}"


@dataclass(frozen=True)
class Implied:
    """A value that the vit_base README leaves unsaid was filled in."""

    key: str
    value: str

    def __str__(self) -> str:
        return f"{self.key} is {self.value}, as in the vit_base README"


@dataclass(frozen=True)
class Unused:
    """A key has no effect here."""

    key: str
    reason: str

    def __str__(self) -> str:
        return f"{self.key} is not used{self.reason}"


Note = Renamed | Implied | Unused


def note_texts(notes: Sequence[object]) -> tuple[str, ...]:
    """The notes in words, with all translations of keys in one."""
    renamed = [str(note) for note in dict.fromkeys(notes) if isinstance(note, Renamed)]
    others = [str(note) for note in dict.fromkeys(notes) if not isinstance(note, Renamed)]
    return (*([f"keys of the vit_base README: {', '.join(renamed)}"] if renamed else []), *others)


class RecipeTerms(Terms):
    """Recipe values go by the names that were used for them: `epoch_size` in a file, `model.set.epochs` elsewhere."""

    kind = "a recipe"
    all_keys = "launcher schema --recipe"

    def __init__(self, names: MappingOf[str, str]) -> None:
        self.names = names

    def name(self, path: Path) -> str:
        return dotted((self.names.get(str(path[0]), str(path[0])), *path[1:])) if path else ""

    def known_elsewhere(self, key: str) -> str:
        ours = SYNONYMS.get(key.lower())
        return f"did you mean '{ours}'?" if ours else ""


@dataclass(frozen=True)
class Translation:
    """A recipe in our names. `names` says what each key was called, and where; `place` is where the recipe begins."""

    place: Place
    pairs: MappingOf[str, KeyValue]
    names: MappingOf[str, str]
    notes: tuple[Note, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def tree(self) -> Mapping:
        return Mapping(self.place, tuple(self.pairs.values()))

    def over(self, below: Translation) -> Translation:
        """Both as one: these values win over those of `below`. What was implied there and is given here was never used."""
        notes = [each for each in below.notes if not (isinstance(each, Implied) and each.key in self.pairs)]
        return Translation(
            below.place,
            {**below.pairs, **self.pairs},
            {**below.names, **self.names},
            (*notes, *self.notes),
            (*below.problems, *self.problems),
        )

    def replaced(self, pair: KeyValue, name: str) -> Translation:
        """The same with another value of one key."""
        return replace(self, pairs={**self.pairs, pair.key: pair}, names={**self.names, pair.key: name})


def translate(tree: Mapping, *, prefix: str = "", is_file: bool = True) -> Translation:
    """The values of a recipe file, or of what overrides one, in our names.

    `prefix` stands before each key in messages. Only a file brings the defaults that its README leaves unsaid.
    Unknown keys pass through: validation reports them. Of two keys that contradict each other the first is kept.
    """
    work = _Translator(tree, prefix)
    for pair in tree.pairs:
        if pair.key not in _SPECIAL:
            work.rename(pair)
    work.take_checkpoint()
    if tree.get("device_id") is not None:
        work.notes.append(Unused("device_id", ": the launcher or DEVICE_ID chooses the device"))
    if is_file and any(tree.get(sign) is not None for sign in _VIT_BASE_SIGNS):
        work.fill_in_defaults()
    return Translation(tree.place, work.pairs, work.names, tuple(work.notes), tuple(work.problems))


class _Translator:
    """The translation of one tree while it is made."""

    def __init__(self, tree: Mapping, prefix: str) -> None:
        self.tree = tree
        self.prefix = prefix
        self.pairs: dict[str, KeyValue] = {}
        self.names: dict[str, str] = {}
        self.notes: list[Note] = []
        self.problems: list[Problem] = []

    def rename(self, pair: KeyValue) -> None:
        """Take a key over under our name, unless another name of it was taken before."""
        ours = ALIASES.get(pair.key, pair.key)
        first = self.pairs.get(ours)
        if first is None:
            self.take(ours, pair)
        elif plain(first.value) != plain(pair.value):
            self.contradiction(ours, pair)
        if pair.key not in (ours, "name"):
            self.notes.append(Renamed(pair.key, ours))

    def take(self, ours: str, pair: KeyValue) -> None:
        self.pairs[ours] = KeyValue(ours, pair.key_place, pair.value)
        self.names[ours] = f"{self.prefix}{pair.key}"

    def contradiction(self, ours: str, second: KeyValue) -> None:
        """Two names of one key have different values."""
        first = next(pair for pair in self.tree.pairs if ALIASES.get(pair.key, pair.key) == ours)
        values = f"{first.key} is {_shown(first.value)} and {second.key} is {_shown(second.value)}"
        self.broken(RuleError(f"{values}, but both mean {ours}", at=(first.key,), others=((second.key,),)))

    def take_checkpoint(self) -> None:
        """Fold pre_trained and checkpoint_path into `pretrained`."""
        switch, path, own = (
            self.tree.get("pre_trained"),
            self.tree.pair("checkpoint_path"),
            self.tree.get("pretrained"),
        )
        wanted = "false" if switch is None else str(plain(switch)).strip().lower()
        named = path if path is not None and plain(path.value) else None
        if wanted not in ("true", "false"):
            self.broken(RuleError(expected="True or False", at=("pre_trained",)))
        elif wanted == "false":
            if named is not None:
                self.notes.append(Unused("checkpoint_path", ", because pre_trained is not True"))
        elif named is None:
            message = "pre_trained is True, but checkpoint_path names no checkpoint"
            self.broken(RuleError(message, at=("pre_trained",)))
        elif own is not None and plain(own) != plain(named.value):
            message = f"pretrained is {_shown(own)} and checkpoint_path is {_shown(named.value)}"
            self.broken(RuleError(message, at=("pretrained",), others=(("checkpoint_path",),)))
        else:
            self.take("pretrained", named)
            self.notes.append(Renamed("checkpoint_path", "pretrained"))

    def fill_in_defaults(self) -> None:
        for key, value in _VIT_BASE_DEFAULTS.items():
            if key not in self.pairs:
                place = self.tree.place
                self.pairs[key] = KeyValue(key, place, Scalar(place, value, value))
                self.names[key] = key
                self.notes.append(Implied(key, value))

    def broken(self, rule: RuleError) -> None:
        terms = RecipeTerms({pair.key: f"{self.prefix}{pair.key}" for pair in self.tree.pairs})
        self.problems.append(rule_problem(rule, self.tree, terms))


def _shown(node: Node) -> str:
    return repr(plain(node))
