"""What the words of a user's program say: its Python, its script, and the frameworks that the script imports.

The script is read, never run. Modules that lie beside it are read, too, since training scripts are often split up.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.plan.syntax import parse

FRAMEWORKS = ("mindspore", "torch")
"""Packages whose import says how the ranks of a program meet."""
PYTHON = ("python", "python3")
"""First words that mean the job's own Python, wherever that is."""
_ANY_PYTHON = re.compile(r"python(\d+(\.\d+)?)?")
_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")
_MAX_BYTES = 1 << 20
_MAX_FILES = 200


@dataclass(frozen=True, slots=True)
class Script:
    """What a Python runs: the word of a file or folder, or the name of a module (`-m`)."""

    word: str
    is_module: bool = False

    def path(self, cwd: Path) -> Path | None:
        """The file that is read first; None for a module that does not lie below `cwd`."""
        start = cwd.joinpath(*self.word.split(".")) if self.is_module else cwd / self.word
        for path in (start, start.with_name(f"{start.name}.py"), start / "__main__.py"):
            if is_file(path):
                return path
        return None


def is_python(word: str) -> bool:
    """Whether a program's first word is a Python: `python3.11`, `/opt/venv/bin/python`."""
    return _ANY_PYTHON.fullmatch(Path(word).name) is not None


def with_python(program: tuple[str, ...], python: str) -> tuple[str, ...]:
    """The program with the job's own Python in place of `python`: PATH has another one, or none."""
    return (python, *program[1:]) if program[0] in PYTHON else program


def value_of(word: str) -> str:
    """What a word of a program may name: itself, or the value of an option `--name=value`."""
    return word.partition("=")[2] if word.startswith("-") else word


def script_of(program: Sequence[str]) -> Script | None:
    """What the Python at the head of `program` runs; None for another program, `-c` and no script at all."""
    if not program or not is_python(program[0]):
        return None
    words = iter(program[1:])
    for word in words:
        if word == "-m" or (word.startswith("-m") and not word.startswith("--")):
            name = word[2:] or next(words, "")
            return Script(name, is_module=True) if name else None
        if word in _WITH_VALUE:
            next(words, None)
        elif word.startswith("-"):
            if word == "-" or word.startswith("-c"):
                return None
        else:
            return Script(word)
    return None


def frameworks_of(program: Sequence[str], cwd: Path) -> tuple[str, ...]:
    """The frameworks that the script of `program` can't do without, MindSpore first; empty when that is not known.

    An import inside `try` or `if` may be one of several ways, so a script that has only such ones gives nothing. A
    script that imports MindSpore anywhere needs its scheduler: then torch alone is never the answer.
    """
    script = script_of(program)
    path = script.path(cwd) if script else None
    if path is None:
        return ()
    needed: set[str] = set()
    mentioned: set[str] = set()
    for name, firm in _imports(path, cwd if script and script.is_module else path.parent):
        mentioned.add(name)
        if firm:
            needed.add(name)
    if "mindspore" in mentioned - needed:
        return ()
    return tuple(name for name in FRAMEWORKS if name in needed)


def modules_of(script: Path, root: Path) -> list[Path]:
    """The script and the modules below `root` that it imports, and those that they import, with their packages."""
    found = [path for path, _, _ in _modules(script, root)]
    packages = {
        folder / "__init__.py" for path in found for folder in path.parents if folder.is_relative_to(root)
    }
    return [*found, *sorted(path for path in packages - {root / "__init__.py"} if is_file(path))]


@dataclass(frozen=True, slots=True)
class _Import:
    """`firm`: it must succeed for the file to run. `folder`: where a relative import looks."""

    name: str
    firm: bool
    folder: Path | None = None


def mentions(program: Sequence[str], cwd: Path, names: Sequence[str]) -> bool:
    """Whether a word of the program, or a text file that it names, or a module beside its script, has one of the names."""
    if any(name in word for word in program for name in names):
        return True
    script = script_of(program)
    path = script.path(cwd) if script else None
    files = [cwd / word for word in program[1:] if not word.startswith("-") and is_file(cwd / word)]
    if script and path:
        files += [module for module, _, _ in _modules(path, cwd if script.is_module else path.parent)]
    wanted = [name.encode() for name in names]
    return any(name in text for text in map(_text_of, files) for name in wanted)


def _imports(script: Path, root: Path) -> Iterator[tuple[str, bool]]:
    """The frameworks imported by the script and the modules below `root`, and whether each import must succeed."""
    for _, reached, imports in _modules(script, root):
        for found in imports:
            top = found.name.partition(".")[0]
            if top in FRAMEWORKS and found.folder is None:
                yield top, found.firm and reached


def _modules(script: Path, root: Path) -> Iterator[tuple[Path, bool, list[_Import]]]:
    """The script and the modules below `root` that it imports: file, whether it is surely imported, its own imports."""
    waiting, seen = [(script, True)], {script}
    while waiting and len(seen) <= _MAX_FILES:
        path, reached = waiting.pop()
        imports = list(_imports_of(path))
        yield path, reached, imports
        for found in imports:
            if found.folder is None and found.name.partition(".")[0] in FRAMEWORKS:
                continue
            module = Script(found.name, is_module=True).path(found.folder or root)
            if module and module not in seen:
                seen.add(module)
                waiting.append((module, found.firm and reached))


def _text_of(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.stat().st_size <= _MAX_BYTES else b""
    except OSError:
        return b""


def _imports_of(path: Path) -> Iterator[_Import]:
    """What one file imports; a file that this Python can't read imports nothing."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            return
        tree = parse(path.read_bytes())
    except OSError:
        return
    if tree is None:
        return
    firm = {id(statement) for statement in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (_Import(alias.name, id(node) in firm) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            folder = path.parents[node.level - 1] if 0 < node.level <= len(path.parents) else None
            if node.module:
                yield _Import(node.module, id(node) in firm, folder)
            prefix = f"{node.module}." if node.module else ""
            yield from (
                _Import(f"{prefix}{a.name}", id(node) in firm, folder) for a in node.names if a.name != "*"
            )


def is_file(path: Path) -> bool:
    """False also for what can't be a file's name."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a word too long for a name, or with a NUL
        return False


def search_path(python: str, path: str) -> str:
    """PATH of the ranks: programs beside the job's Python come first, as in an activated environment."""
    folder = str(Path(python).parent) if "/" in python else ""
    parts = path.split(os.pathsep) if path else []
    return os.pathsep.join([folder, *parts] if folder and parts[:1] != [folder] else parts)
