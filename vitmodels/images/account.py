"""What of a split is used, and what is left out: for the lines at the start, for results, and for `--strict`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitmodels.errors import DataError
from vitmodels.images.classes import Classes, Matching, hint_of, match, shown
from vitmodels.images.data import ImageFolder

UNKNOWN = "images of unknown classes"


@dataclass(frozen=True)
class Account:
    """The counts of one split. `empty` are class folders without images."""

    split: str
    images: int
    used_classes: int
    nested: int
    left_out: Mapping[str, int]
    empty: tuple[str, ...]
    matching: Matching

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes a figure of this split mean something else than its name says."""
        match_, found = self.matching, []
        if match_.missing:
            found.append(
                f"no folder for {len(match_.missing)} of {len(match_.names)} classes: {shown(match_.missing)}"
            )
        if match_.unknown:
            number = self.left_out.get(UNKNOWN)
            fate = "their images have no label" if number is None else f"left out with their images, {number}"
            found.append(
                f"{counted(match_.unknown)} that the net does not know: {shown(match_.unknown)}; {fate}"
            )
        if hint := hint_of(match_.lookalikes):
            found.append(hint)
        if self.empty:
            found.append(f"{counted(self.empty)} without images: {shown(self.empty)}")
        if not match_.certain:
            found.append(
                "the weights know no class names: labels are the places of the folders in order, which is wrong if one is missing, or if "
                "numbered folders were in another order (class_order: text or natural in the recipe says which)"
            )
        return tuple(f"{self.split}: {text}" for text in found)

    def lines(self) -> list[str]:
        """For people: what is used, what is left out, and the warnings."""
        text = f"{self.split}: {self.images} images of {self.used_classes} classes"
        if self.nested:
            text += f", {self.nested} of them in sub-folders"
        if self.left_out:
            text += "; left out: " + ", ".join(f"{count} {why}" for why, count in self.left_out.items())
        lines = [text]
        if respelled := self.matching.respelled:
            pairs = [f"{folder!a} is {name!a}" for folder, name in respelled.items()]
            lines.append(
                f"{self.split}: {counted(pairs)} in another Unicode form than the classes: {shown(pairs)}"
            )
        return [*lines, *(f"warning: {warning}" for warning in self.warnings)]

    def check(self) -> None:
        """Raises DataError for what `--strict` refuses: classes and folders that don't belong together."""
        if self.warnings:
            raise DataError("; ".join(self.warnings), hint="complete the data set, or leave out --strict")

    def as_dict(self) -> dict[str, Any]:
        """For result files."""
        return {
            "split": self.split,
            "images": self.images,
            "classes_used": self.used_classes,
            "in_subfolders": self.nested,
            "left_out": dict(self.left_out),
            "empty_classes": list(self.empty),
            "missing_classes": list(self.matching.missing),
            "unknown_classes": list(self.matching.unknown),
            "respelled_classes": dict(self.matching.respelled),
            "labels_by": self.matching.by,
            "labels_certain": self.matching.certain,
        }


def counted(folders: Sequence[str]) -> str:
    """`1 class folder` or `2 class folders`."""
    return f"{len(folders)} class folder{'s' if len(folders) != 1 else ''}"


def take(folder: ImageFolder, split: str, matching: Matching) -> tuple[ImageFolder, Account]:
    """The images of the classes that the net knows, and the account. Raises DataError when there is none."""
    known = folder.relabelled(matching)
    unknown = len(folder) - len(known)
    if not len(known):
        raise DataError(f"{folder.root} holds no image of a class that the net knows")
    left_out = {**folder.left_out, **({UNKNOWN: unknown} if unknown else {})}
    used = len(set(known.labels.tolist()))
    account = Account(split, len(known), used, known.nested, left_out, folder.empty, matching)
    return known, account


def take_known(
    folder: ImageFolder, split: str, known: Classes, outputs: int, *, train: Sequence[str] = (), strict: bool
) -> tuple[ImageFolder, Account]:
    """The same for a net of `outputs` classes. Raises DataError when no folder fits or, if `strict`, not all do."""
    where = str(folder.root)
    found = take(folder, split, match(folder.classes, known, outputs, where=where, train=train))
    if strict:
        found[1].check()
    return found
