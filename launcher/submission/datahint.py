"""What a data folder of this machine that holds nothing is: missing, empty or misspelt, and what to do about it."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from itertools import islice
from pathlib import Path

from launcher.findings import Finding
from vitmodels.suggest import nearest

_MOST_NAMES = 2000
"""Names of a folder that are compared with a misspelt one."""


def explained(finding: Finding, folder: Path, *, beside: Path | None, digits: bool) -> Finding:
    """The finding with the folder's state, and with the fix that fits. It stays as it is where there are files, or none can be seen.

    `beside`: what the path would be if it counted from the folder of the job file. `digits`: the recipe is for the digits.
    """
    try:
        missing = not folder.exists()
        if not missing and next(folder.iterdir(), None) is not None:
            return finding
        near = _near(folder) if missing else None
        is_beside = missing and beside is not None and beside.is_dir()
    except OSError:
        return finding
    message = f"{_shown(folder)}: {'there is no such folder' if missing else 'the folder is empty'}"
    if is_beside and beside is not None:
        fix = f"paths count from the folder where you type the command, not from the job file: write {_shown(beside)}"
    elif near is not None:
        fix = f"did you mean {_shown(near)}?"
    elif digits and "digit" in folder.name.lower():
        fix = f"make the digits there: python -m vitmodels.digits {shlex.quote(_shown(folder))}"
    else:
        fix = "put the images there (train/<class>/ and val/<class>/), or correct the path"
    return replace(finding, message=message, fix=fix)


def _near(folder: Path) -> Path | None:
    """The folder that the path was probably meant to be: one name of it differs a little. Raises OSError."""
    above = folder
    while not above.parent.is_dir():
        above = above.parent
    with os.scandir(above.parent) as entries:
        names = [each.name for each in islice(entries, _MOST_NAMES) if each.is_dir()]
    near = nearest(above.name, names)
    found = above.parent / near / folder.relative_to(above)
    return found if near and found.is_dir() else None


def _shown(path: Path) -> str:
    """Relative to the current folder where the path is inside of it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
