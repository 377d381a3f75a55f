"""The files of a job: the one that was named, and those that it is based on by `base:`; and all of them as one text."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.jobfile.problems import JobFileError
from launcher.jobfile.template import flow
from vitmodels.document.problem import Place, Problem
from vitmodels.document.reader import read, start_of
from vitmodels.document.tree import Mapping, Node, Scalar, overlay, plain
from vitmodels.suggest import nearest

BASE = "base"
JOBS = "jobs"
"""The folder where job files usually lie."""


@dataclass(frozen=True, slots=True)
class JobFile:
    """One file as it was read; `node` has no `base` where that names a file."""

    path: Path
    text: bytes
    node: Node | None
    problems: tuple[Problem, ...]


def read_file(path: Path) -> JobFile:
    """A file that stands for itself: its `base` is left where it is. Raises JobFileError."""
    text = _text(path)
    node, problems = read(text, str(path))
    return JobFile(path, text, node, tuple(problems))


def read_files(path: Path) -> list[JobFile]:
    """The file and all that it is based on, the undermost first. Raises JobFileError for a file that can't be read, and for a loop."""
    files: list[JobFile] = []
    seen: dict[str, Path] = {}
    text = _text(path)
    while True:
        seen[os.path.realpath(path)] = path
        node, problems = read(text, str(path))
        named = _named(node)
        files.insert(0, JobFile(path, text, _without(node, named), tuple(problems)))
        if named is None:
            return files
        path = _path_of(named, path.parent)
        if os.path.realpath(path) in seen:
            chain = " → ".join(str(each) for each in [*seen.values(), path])
            raise JobFileError([Problem(named.place, f"files are based on each other: {chain}", BASE)])
        text = _text(path, named)


def whole_text(files: Sequence[JobFile]) -> str:
    """One job file that says the same: the file as it is, or all files merged."""
    if len(files) == 1:
        return files[0].text.decode("utf-8-sig")
    merged = overlay([file.node for file in files if isinstance(file.node, Mapping)])
    names = ", ".join(file.path.name for file in reversed(files[:-1]))
    lines = [f"# {files[-1].path.name} with what it is based on: {names}", *_lines(merged, "")]
    return "\n".join(lines) + "\n"


def _lines(section: Mapping, indent: str) -> Iterator[str]:
    for pair in section.pairs:
        key = flow(pair.key)
        if isinstance(pair.value, Mapping) and pair.value.pairs:
            yield f"{indent}{key}:"
            yield from _lines(pair.value, f"{indent}  ")
        else:
            yield f"{indent}{key}: {flow(plain(pair.value))}"


def _named(node: Node | None) -> Scalar | None:
    """The base of a file. One that is no text is left where it is, and refused like any wrong value."""
    base = node.get(BASE) if isinstance(node, Mapping) else None
    return base if isinstance(base, Scalar) and isinstance(base.value, str) and base.value else None


def _without(node: Node | None, named: Scalar | None) -> Node | None:
    if named is None or not isinstance(node, Mapping):
        return node
    return Mapping(node.place, tuple(pair for pair in node.pairs if pair.key != BASE), node.size - 2)


def _path_of(named: Scalar, folder: Path) -> Path:
    """Beside the file that names it, shown as short as possible."""
    path = folder / os.path.expanduser(named.text)  # noqa: PTH111 - never raises
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else Path(relative)


def _text(path: Path, named: Scalar | None = None) -> bytes:
    """The bytes of a file. `named`: the value that names it, for a base."""
    try:
        return start_of(path)
    except FileNotFoundError:
        what, hint = "there is no such file", _hint(path, named)
    except IsADirectoryError:
        what, hint = "this is a folder, not a job file", ""
    except (OSError, ValueError) as error:
        what, hint = f"the file can't be read: {getattr(error, 'strerror', None) or error}", ""
    problem = (
        Problem(Place(str(path)), what, hint=hint)
        if named is None
        else Problem(named.place, f"{path}: {what}", BASE, hint)
    )
    raise JobFileError([problem])


def _hint(path: Path, named: Scalar | None) -> str:
    folder = path.parent
    found = [p.name for p in folder.iterdir() if p.suffix in (".yaml", ".yml")] if folder.is_dir() else []
    naming = Path(named.place.file).name if named is not None else ""
    names = [name for name in found if name != naming]
    if near := nearest(path.name, names):
        return f"did you mean {folder / near}?"
    if named is not None:
        return "the path is relative to the file that names it"
    if elsewhere := _same_name_near(path):
        return f"did you mean {elsewhere}?"
    return f"launcher init {path} writes a commented one"


def _same_name_near(path: Path) -> Path | None:
    """A file of the same name in a folder below the one where it was looked for, `jobs` first, or in the current one."""
    folder = path.parent
    try:
        below = sorted(each for each in folder.glob("*/") if each.name != JOBS)
    except (OSError, ValueError):
        return None
    near = [folder / JOBS, *below, Path(JOBS), Path()]
    return next((each / path.name for each in near if (each / path.name).is_file()), None)
