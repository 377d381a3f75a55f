"""Class names and the outputs of a net: which folder is which output.

A net knows the names of its outputs when it was trained here. Other weights have only an order: timm numbers the folders of a
data set in natural order (c2 before c10), torchvision in that of their text. ImageNet's names are known, and so are
numbered folders, as those of ImageNetV2 are: the number is the output.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from vitmodels.errors import DataError
from vitmodels.images.spelling import check_forms, lookalikes, respelled

Order = Literal["text", "natural"]
By = Literal["names", "imagenet", "numbers", "train", "order"]


@dataclass(frozen=True)
class Classes:
    """What is known of the outputs of a net: their names by index, or only the order in which folders were numbered.

    `stated` is whether a recipe says that order; else it is the one of the framework that made the weights.
    """

    names: tuple[str, ...] = ()
    order: Order = "text"
    stated: bool = field(default=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """How results, exports and checkpoints keep it."""
        return {"classes": list(self.names), "class_order": self.order}

    def numbered(self, order: Order | None) -> Classes:
        """The same with the order that a recipe states; names, where there are some, count more."""
        return replace(self, order=order, stated=True) if order and not self.names else self

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], order: Order = "text") -> Classes:
        """The inverse; `order` for a file that has none."""
        names = value.get("classes")
        stated = value.get("class_order")
        return cls(
            tuple(str(name) for name in names) if isinstance(names, list) else (),
            stated if stated in ("text", "natural") else order,
        )


NAMELESS = Classes()


@dataclass(frozen=True)
class Matching:
    """Class folders and outputs: `labels` has the folders that are outputs, `unknown` the others.

    `respelled` has the folders whose names are those of the outputs only in another Unicode form.
    """

    names: tuple[str, ...]
    labels: Mapping[str, int]
    missing: tuple[str, ...]  # names of outputs that have no folder
    unknown: tuple[str, ...]
    by: By
    certain: bool = True
    respelled: Mapping[str, str] = field(default_factory=dict)

    @property
    def lookalikes(self) -> Mapping[str, str]:
        """Unknown folders that look like the name of an output that has no folder."""
        return lookalikes(self.unknown, self.missing)


def natural_key(text: str) -> tuple[list[Any], str]:
    """Numbers compare as numbers, and letters without case, as in timm; names that are equal then, as text."""
    parts = re.split(r"(\d+)", text.lower())
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], text


def ordered(names: Iterable[str], order: Order) -> tuple[str, ...]:
    """The names in one of the two orders."""
    return tuple(sorted(names, key=natural_key) if order == "natural" else sorted(names))


@cache
def imagenet() -> tuple[str, ...]:
    """The 1,000 synsets of ImageNet by index."""
    return tuple(Path(__file__).with_name("imagenet.txt").read_text().split())


def match(
    folders: Sequence[str], known: Classes, outputs: int, *, where: str, train: Sequence[str] = ()
) -> Matching:
    """Which output each class folder of `where` is. `train` are the folders of the training split, if it is there.

    Raises DataError when no folder fits, or when there are too many for a net that knows no names.
    """
    if known.names:
        _check_names(folders, known.names, outputs)
        return _by_name(folders, known.names, where)
    if _is_imagenet(folders, outputs):
        return _matched(folders, imagenet(), {}, "imagenet")
    forms = respelled(folders, train, where)
    if train and len(train) <= outputs and (forms or set(folders) & set(train)):
        return _matched(folders, ordered(train, known.order), forms, "train")
    counted = known.order == "natural" or (outputs == len(imagenet()) and not known.stated)
    if counted and (numbers := _numbers(folders, outputs)):
        names = [str(number) for number in range(outputs)]
        for folder, number in numbers.items():
            names[number] = folder
        return _matched(folders, names, {}, "numbers")
    if len(folders) > outputs:
        raise DataError(f"{where} has {len(folders)} class folders, the recipe says num_classes {outputs}")
    check_forms(folders, where)
    found = _matched(folders, ordered(folders, known.order), {}, "order")
    certain = len(folders) == outputs and (known.stated or known.order == "natural" or not _turned(folders))
    return Matching(found.names, found.labels, (), (), "order", certain)


def _check_names(folders: Sequence[str], names: Sequence[str], outputs: int) -> None:
    """Raises DataError when the names that come with weights can't be those of their outputs, as in a file of another program."""
    if len(names) > outputs:
        raise DataError(f"the weights have {outputs} outputs and the names of {len(names)} classes")
    twice = {name for name, count in Counter(names).items() if count > 1}
    if doubtful := [folder for folder in folders if folder in twice]:
        raise DataError(
            f"several outputs of the weights have the name {shown(doubtful)}",
            hint="give each class a name of its own in the weights, or name its folder otherwise",
        )


def _turned(folders: Sequence[str]) -> bool:
    """Whether folders are numbers whose order as text is another one: 1, 10, 2."""
    numbers = all(folder.isascii() and folder.isdigit() for folder in folders)
    return numbers and ordered(folders, "text") != ordered(folders, "natural")


def _by_name(folders: Sequence[str], names: Sequence[str], where: str) -> Matching:
    forms = respelled(folders, names, where)
    if forms or set(folders) & set(names):
        return _matched(folders, names, forms, "names")
    numbers = [str(number) for number in range(len(imagenet()))]
    for ours, theirs in ((imagenet(), numbers), (numbers, imagenet())):
        if set(names) == set(ours):
            aliases = {other: own for own, other in zip(ours, theirs, strict=True)}
            if any(folder in aliases for folder in folders):
                return _matched(folders, names, aliases, "imagenet")
    raise DataError(
        f"none of the {len(folders)} class folders of {where} is a class of the weights: "
        f"folders {shown(folders)}; classes {shown(names)}",
        hint=hint_of(lookalikes(folders, names)) or "name the data that the weights were trained for",
    )


def _matched(folders: Sequence[str], names: Sequence[str], aliases: Mapping[str, str], by: By) -> Matching:
    index = {name: number for number, name in enumerate(names)}
    wanted = {folder: aliases.get(folder, folder) for folder in folders}
    labels = {folder: index[name] for folder, name in wanted.items() if name in index}
    present = set(labels.values())
    return Matching(
        tuple(names),
        labels,
        tuple(name for number, name in enumerate(names) if number not in present),
        tuple(folder for folder in folders if folder not in labels),
        by,
        respelled=aliases if by in ("names", "train") else {},
    )


def _is_imagenet(folders: Sequence[str], outputs: int) -> bool:
    """Whether the folders of a net with 1,000 outputs are ImageNet's: most of them have names of its synsets."""
    if outputs != len(imagenet()):
        return False
    shared = len(set(folders) & set(imagenet()))
    return shared == outputs or (len(folders) != outputs and 2 * shared > len(folders))


def _numbers(folders: Sequence[str], outputs: int) -> dict[str, int]:
    """The folders as numbers of outputs; empty unless all of them are different ones."""
    if not all(folder.isascii() and folder.isdigit() for folder in folders):
        return {}
    numbers = {folder: int(folder) for folder in folders}
    fits = max(numbers.values(), default=outputs) < outputs and len(set(numbers.values())) == len(folders)
    return numbers if fits else {}


def hint_of(alike: Mapping[str, str]) -> str:
    """What to rename; '' for no names."""
    pairs = [f"{folder!a} to {name!a}" for folder, name in alike.items()]
    return f"names are compared as they are: rename {shown(pairs)} if that is meant" if pairs else ""


def shown(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many there are beyond."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
