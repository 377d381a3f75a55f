"""The words of a program that name files or folders: what the snapshot takes for them, and what ranks read in their place.

Ranks work in a copy of the folder of the submission, so a relative word stays as it is where the copy has the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.jobfile.spec import JobSpec
from launcher.plan.machines import Machines
from launcher.plan.model import OUTSIDE
from launcher.plan.options import seen_in
from launcher.plan.script import modules_of, script_of, with_python
from launcher.runfolder.paths import SNAPSHOT_ELSEWHERE as ELSEWHERE
from launcher.snapshot.select import Selection, Source, select
from launcher.storage.address import local_folder
from launcher.storage.registry import absolute_url

_READ_ONLY = (".py", ".sh", ".yaml", ".yml", ".toml", ".json", ".cfg", ".ini")
"""Names of files that a program reads: where one has a whole path inside the folder, the snapshot's is meant."""
_SCRIPTS = (".py", ".sh")
_MOST_SCRIPT_BYTES = 1 << 20
_MOST_SIBLINGS = 500


def selection_of(
    spec: JobSpec, machines: Machines, cwd: Path, excluded: tuple[Path, ...], *, shares_files: bool
) -> Selection | None:
    """What the snapshot of a job's folder holds; None for a job of vitmodels. Reads names, and the scripts that words name."""
    if spec.program is None:
        return None
    program = with_python(spec.program, machines.python)
    data = local_folder(absolute_url(spec.data.url, cwd)) if spec.data.url else None
    extra, extra_links = _elsewhere(program, cwd, shares_files)
    return select(
        Source(
            folder=cwd,
            named=tuple(dict.fromkeys([*_named(program, cwd), *_default_data(program, cwd)])),
            data=_inside(data, cwd) if data else "",
            extra=tuple(extra.items()),
            extra_links=tuple(extra_links.items()),
            excluded=excluded,
            can_link=machines.links_files,
            shares_files=shares_files,
        )
    )


def placed_words(
    program: tuple[str, ...], cwd: Path, machines: Machines, selection: Selection | None
) -> tuple[str, ...]:
    """The program as the machines run it. A first word without a slash is left to PATH, as in a shell."""
    chosen = selection or Selection(cwd)
    elsewhere = {
        str(found.path): name for name, found in chosen.files.items() if name.startswith(f"{ELSEWHERE}/")
    }
    return tuple(word.text(_placed(word, cwd, machines, chosen, elsewhere)) for word in _words(program))


@dataclass(frozen=True, slots=True)
class _Word:
    """A word of a program, or the value of an option `--name=value`."""

    place: int
    option: str
    value: str

    def text(self, value: str) -> str:
        return self.option + value

    def path(self, cwd: Path) -> Path | None:
        """What it names, if that exists."""
        if not self.value or "{" in self.value or self.value.startswith("-"):
            return None
        if self.place == 0 and "/" not in self.value:
            return None
        path = Path(os.path.normpath(cwd / self.value))
        try:
            return path if path.exists() else None
        except OSError:  # too long for a name
            return None


def _words(program: tuple[str, ...]) -> Iterator[_Word]:
    for place, word in enumerate(program):
        name, equals, value = word.partition("=")
        if place and word.startswith("-") and equals:
            yield _Word(place, f"{name}=", value)
        else:
            yield _Word(place, "", word)


def _placed(
    word: _Word, cwd: Path, machines: Machines, chosen: Selection, elsewhere: Mapping[str, str]
) -> str:
    path = word.path(cwd)
    if path is None or path == cwd:
        return word.value
    name, absolute = _inside(path, cwd), word.value.startswith("/")
    if name and chosen.has(name) and (not absolute or (path.is_file() and path.suffix in _READ_ONLY)):
        return f"./{name}" if word.place == 0 else name if absolute else word.value
    if machines.code_folders is not None:
        return _on_other_machines(word, path, machines.code_folders, elsewhere)
    if str(path) in elsewhere:
        return _first(word, elsewhere[str(path)])
    is_named = path.is_file() or (path.is_dir() and "/" in word.value)
    return (cwd / word.value).absolute().as_posix() if is_named and not absolute else word.value


def _on_other_machines(
    word: _Word, path: Path, folders: tuple[str, ...], elsewhere: Mapping[str, str]
) -> str:
    """The copy of a file below `{code}`, or in the snapshot; a file that is in neither is marked."""
    if not path.is_file():
        return word.value
    resolved = path.resolve()
    for folder in map(Path, folders):
        if resolved.is_relative_to(folder):
            return f"{{code}}/{folder.name}/{resolved.relative_to(folder).as_posix()}"
    return _first(word, elsewhere[str(path)]) if str(path) in elsewhere else f"{OUTSIDE}{word.value}"


def _first(word: _Word, name: str) -> str:
    return f"./{name}" if word.place == 0 else name


def _named(program: tuple[str, ...], cwd: Path) -> Iterator[str]:
    """What words name inside of the folder. A whole path of a folder means that very folder, so it is not taken."""
    for word in _words(program):
        path = word.path(cwd)
        if path and (name := _inside(path, cwd)) and (path.is_file() or not word.value.startswith("/")):
            yield name


def _default_data(program: tuple[str, ...], cwd: Path) -> Iterator[str]:
    """Data inside of the folder that the script reads where its option is not given."""
    script = script_of(program)
    path = script.path(cwd) if script else None
    try:
        default: Any = (option := seen_in(path).data) and option.default if path else None
    except OSError:
        return
    if isinstance(default, str) and default and "\0" not in default:
        found = Path(os.path.normpath(cwd / default))
        if (name := _inside(found, cwd)) and found.exists():
            yield name


def _elsewhere(
    program: tuple[str, ...], cwd: Path, shares_files: bool
) -> tuple[dict[str, Path], dict[str, str]]:
    """Scripts outside of the folder with the modules that they import; and links to what else lies beside them."""
    files: dict[str, Path] = {}
    links: dict[str, str] = {}
    folders: dict[Path, str] = {}
    started = script_of(program)
    for word in _words(program):
        path = word.path(cwd)
        if path is None or not path.is_file() or path.is_relative_to(cwd):
            continue
        is_script = path.suffix in _SCRIPTS or bool(started and started.word == word.value)
        if not is_script or path.stat().st_size > _MOST_SCRIPT_BYTES or not os.access(path, os.R_OK):
            continue
        place = folders.setdefault(path.parent, f"{ELSEWHERE}/{len(folders)}")
        for module in modules_of(path, path.parent):
            if module.is_relative_to(path.parent):
                files[f"{place}/{module.relative_to(path.parent).as_posix()}"] = module
    if shares_files:
        for folder, place in folders.items():
            links |= _siblings(folder, place, set(files))
    return files, links


def _siblings(folder: Path, place: str, taken: set[str]) -> dict[str, str]:
    names = sorted(each for each in os.listdir(folder) if not each.startswith(".") and each != "__pycache__")  # noqa: PTH208
    tops = {
        name.removeprefix(f"{place}/").partition("/")[0] for name in taken if name.startswith(f"{place}/")
    }
    return {f"{place}/{each}": str(folder / each) for each in names[:_MOST_SIBLINGS] if each not in tops}


def _inside(path: Path, cwd: Path) -> str:
    """The name of a path below the folder; '' for others, and for the folder itself."""
    path = Path(os.path.normpath(path))
    for root in (cwd, cwd.resolve()):
        if path.is_relative_to(root) and path != root:
            return path.relative_to(root).as_posix()
    return ""
