"""Names of class folders that look alike: the same in another Unicode form, or different by case and blanks alone.

macOS and some archives write `é` as two characters (NFD) where others write one (NFC). People see the same name, so such a folder is
the class. A name of other case or with blanks around it may be another class on purpose: it is only pointed at.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from vitmodels.errors import DataError

_RENAME = "rename or merge one of the two"


def nfc(name: str) -> str:
    """The name with each accent and its letter as one character, where there is one."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def respelled(folders: Sequence[str], names: Sequence[str], where: str) -> dict[str, str]:
    """Folders that are one of the names only in another Unicode form, and that name.

    Raises DataError for two folders that are the same name.
    """
    exact = set(names)
    by_form = {nfc(name): name for name in names}
    if len(by_form) < len(exact):  # names that differ in their form alone are told apart by it
        twice = {form for form in by_form if sum(nfc(name) == form for name in exact) > 1}
        by_form = {form: name for form, name in by_form.items() if form not in twice}
    found = {folder: by_form[nfc(folder)] for folder in folders if nfc(folder) in by_form}
    taken: dict[str, str] = {}
    for folder, name in found.items():
        if other := taken.get(name):
            raise _twins(other, folder, where)
        taken[name] = folder
    return {folder: name for folder, name in found.items() if folder != name}


def check_forms(folders: Iterable[str], where: str) -> None:
    """Raises DataError for two folders whose names differ in their Unicode form alone."""
    by_form: dict[str, str] = {}
    for folder in folders:
        other = by_form.setdefault(nfc(folder), folder)
        if other != folder:
            raise _twins(other, folder, where)


def lookalikes(folders: Iterable[str], names: Iterable[str]) -> Mapping[str, str]:
    """Folders that differ from one of the names only by case, blanks or characters that can't be seen, and that name."""
    by_look = {_look(name): name for name in names}
    return {folder: by_look[_look(folder)] for folder in folders if _look(folder) in by_look}


def _look(name: str) -> str:
    seen = "".join(char for char in unicodedata.normalize("NFKC", name) if unicodedata.category(char) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", seen.casefold()).split())


def _twins(one: str, other: str, where: str) -> DataError:
    return DataError(
        f"{where} has two class folders of one name, {one!a} and {other!a}: they differ in their Unicode form alone",
        hint=_RENAME,
    )
