"""Places outside of the working folder that a program names, and which of them it seems to write to.

They are read from its words, its environment, the constants of its script, and the settings files and shell scripts among its words.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.plan.options import constants_of
from launcher.plan.script import is_file, modules_of, script_of
from launcher.runfolder.checkpointfiles import is_checkpoint

PROGRAM, _ENV = "program", "env."
_TEXTS = (".sh", ".yaml", ".yml", ".toml", ".json", ".cfg", ".ini")
_MOST_TEXT_BYTES = 1 << 20
_IN_TEXT = re.compile(
    r"(?:(?<![\w.-])([\w.-]{1,64})[\"']?[ \t]{0,8}[=: \t][ \t]{0,8})?[\"']?(?<![\w.*$}{/-])((?!//)(?:~|\.\.|\$\w+|\$\{\w+\})?/[\w./@+~-]+)"
)
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_OUTPUT = frozenset(
    {"dump", "export", "out", "outdir", "output", "result", "save", "saved", "savedir", "write"}
)
_MAYBE_OUTPUT = _OUTPUT | {
    "checkpoint",
    "ckpt",
    "directory",
    "experiment",
    "log",
    "logdir",
    "run",
    "weight",
    "workdir",
}
_INPUT = frozenset({"config", "data", "dataset", "from", "init", "input", "library", "load", "resume"}).union(
    {"pretrain", "pretrained", "tokenizer", "vocab"}
)
_TOOLS = frozenset({"cache", "home", "pythonpath", "tmp", "tmpdir"})
"""In names of variables and options: places where libraries keep what they have fetched."""
_SYSTEM = frozenset({"bin", "boot", "dev", "etc", "lib", "lib64", "proc", "run", "sbin", "sys", "usr"})
_SHARED = frozenset({"home", "media", "mnt", "opt", "root", "srv", "tmp", "var"})


@dataclass(frozen=True, slots=True)
class NamedPlace:
    """`text` as it is written, with variables in it, whose values may be for nobody else. `where`: who names it: `program`, `env.CKPT`, a file's name. `label`: its option, variable or argument."""

    text: str
    where: str
    label: str = ""

    def path(self, base: Path, variables: Mapping[str, str]) -> Path | None:
        """The place for a program that works in `base`; None where the text names none, or a folder of the system."""
        text = re.sub(r"^~(?=/)", "$HOME", self.text)
        text = _VARIABLE.sub(lambda match: variables.get(match[1], match[0]), text)
        text = re.split(r"[{%*\0]", text, maxsplit=1)[0]
        is_above = text == ".." or text.startswith("../")
        if not text.startswith("/") and not is_above:
            return None
        path = Path(os.path.normpath(base / text))
        shallow = len(path.parts) == 2 and not self.is_of_job and path.parts[1] in _SHARED
        return None if len(path.parts) < 2 or path.parts[1] in _SYSTEM or shallow else path

    @property
    def is_of_tools(self) -> bool:
        return bool(_words_of(self.label) & _TOOLS)

    @property
    def is_of_job(self) -> bool:
        """Whether the job file itself names it, and not a file of the program."""
        return self.where == PROGRAM or self.where.startswith(_ENV)

    def is_written(self, path: Path, *, here: bool) -> bool:
        """Whether the program seems to write there, by the names. `here`: the run will see this machine's files."""
        label, last = _words_of(self.label), _words_of(path.name)
        if label & _OUTPUT:
            return True
        if label & (_TOOLS | _INPUT) or (here and is_file(path)):
            return False
        if label & _MAYBE_OUTPUT:
            return True
        in_known_folder = here and _exists(path.parent)
        if last & _MAYBE_OUTPUT or is_checkpoint(path.name):
            return not last & _INPUT and (self.is_of_job or in_known_folder)
        can_be_read = path.suffix or _exists(path)
        return self.is_of_job and in_known_folder and not can_be_read

    def __str__(self) -> str:
        return f"{self.text} ({self.where})"


@dataclass(frozen=True, slots=True)
class Naming:
    """A program and the folder `cwd` that has its files. `env`: variables of the job; `around`: those of the machine."""

    program: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    around: Mapping[str, str]

    def places(self) -> tuple[NamedPlace, ...]:
        """What may name a place; the same one may be there twice. Reads the script and what it imports. Raises OSError."""
        named = [*self._in_words(), *self._in_env(), *self._in_modules(), *self._in_texts()]
        return tuple(dict.fromkeys(named))

    @property
    def variables(self) -> dict[str, str]:
        return {**self.around, **self.env}

    def _in_words(self) -> Iterator[NamedPlace]:
        option = ""
        for word in self.program:
            name, equals, value = word.partition("=")
            if equals and not word.startswith(("/", "~", "..")) and re.fullmatch(r"[\w.+-]+", name):
                yield NamedPlace(value, PROGRAM, name)
            elif any(letter.isspace() for letter in word):
                yield from (NamedPlace(text, PROGRAM, label) for label, text in _places_in(word))
            else:
                yield NamedPlace(word, PROGRAM, option)
            option = word if word.startswith("-") else ""

    def _in_env(self) -> Iterator[NamedPlace]:
        for name, value in self.env.items():
            if ":" not in value:
                yield NamedPlace(value, f"{_ENV}{name}", name)

    def _in_modules(self) -> Iterator[NamedPlace]:
        """Constants, and the machine's variables that constants name: `os.environ["CKPT_DIR"]`."""
        for path, root in self._scripts():
            for file in modules_of(path, root):
                for label, value in constants_of(file):
                    yield NamedPlace(value, file.name, label)
                    if value in self.around and value not in self.env and ":" not in self.around[value]:
                        yield NamedPlace(f"${value}", file.name, value)

    def _scripts(self) -> Iterator[tuple[Path, Path]]:
        """Those that a Python, a shell script, `torchrun` and the like start; with the folder of their modules."""
        script = script_of(self.program)
        path = script.path(self.cwd) if script else None
        if script and path:
            yield path, self.cwd if script.is_module else path.parent
            return
        shells = (text for path, text in self._texts() if path.suffix == ".sh")
        for word in dict.fromkeys(" ".join((*self.program[1:], *shells)).split()):
            if word.endswith(".py") and is_file(self.cwd / word):
                yield self.cwd / word, (self.cwd / word).parent

    def _texts(self) -> Iterator[tuple[Path, str]]:
        """Settings files and shell scripts among the words."""
        for word in self.program[1:]:
            path = self.cwd / word.rpartition("=")[2]
            if path.suffix in _TEXTS and is_file(path) and path.stat().st_size <= _MOST_TEXT_BYTES:
                yield path, path.read_text("utf-8", "replace")

    def _in_texts(self) -> Iterator[NamedPlace]:
        for path, text in self._texts():
            for label, place in _places_in(text):
                yield NamedPlace(place, path.name, label)


def _places_in(text: str) -> Iterator[tuple[str, str]]:
    return ((match[1] or "", match[2]) for match in _IN_TEXT.finditer(text))


def _words_of(name: str) -> frozenset[str]:
    """The parts of a name, in lower case and without the s of a plural."""
    return frozenset(word.lower().removesuffix("s") for word in _WORD.findall(name))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
