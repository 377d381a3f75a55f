"""Patterns in the form of .gitignore: which files of a folder a person wants to leave out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_OPEN = re.compile(r"(?<!\\)\[[^\]]*$")
IGNORE_FILE = ".launcherignore"


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    negated: bool
    folders_only: bool


class Ignore:
    """The rules of one file. The last one that fits decides; what lies in an ignored folder stays ignored."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules = [rule for line in lines if (rule := _rule(line))]
        self._folders: dict[str, bool] = {"": False}

    @classmethod
    def of(cls, folder: Path) -> Ignore:
        """The rules of a folder's .launcherignore; none where there is no such file."""
        try:
            text = (folder / IGNORE_FILE).read_bytes().decode(errors="surrogateescape")
        except OSError:
            return cls(())
        return cls(text.removeprefix("\ufeff").splitlines())

    def skips(self, folder: str) -> bool:
        """Whether a folder is ignored, by its name relative to that of the file."""
        if folder not in self._folders:
            self._folders[folder] = self.skips(folder.rpartition("/")[0]) or self._fits(folder, True)
        return self._folders[folder]

    def ignores(self, name: str) -> bool:
        """Whether a file is ignored."""
        return bool(self._rules) and (self.skips(name.rpartition("/")[0]) or self._fits(name, False))

    def _fits(self, name: str, is_folder: bool) -> bool:
        for rule in reversed(self._rules):
            if (is_folder or not rule.folders_only) and rule.pattern.fullmatch(name):
                return not rule.negated
        return False


def _rule(line: str) -> _Rule | None:
    text = re.sub(r"(?<!\\) +$", "", line.rstrip("\r\n"))
    if not text or text.startswith("#"):
        return None
    negated = text.startswith("!")
    text = text.removeprefix("!")
    folders_only = text.endswith("/")
    text = text.rstrip("/")
    anchored = "/" in text
    text = text.removeprefix("/")
    if not text or _OPEN.search(text):  # as for git, a broken pattern fits nothing
        return None
    try:
        pattern = re.compile(("" if anchored else "(?:.*/)?") + _expression(text), re.DOTALL)
    except re.error:
        return None
    return _Rule(pattern, negated, folders_only)


def _expression(text: str) -> str:
    """A regular expression in which `*` and `?` stay inside one name, and `**` is any number of folders."""
    parts: list[str] = []
    place = 0
    while place < len(text):
        rest = text[place:]
        if rest.startswith("**/") and (place == 0 or text[place - 1] == "/"):
            parts.append("(?:[^/]+/)*")
            place += 3
        elif rest == "**" and place and text[place - 1] == "/":
            parts.append(".+")
            place += 2
        elif rest[0] == "*":
            parts.append("[^/]*")
            place += len(rest) - len(rest.lstrip("*"))
        elif rest[0] == "?":
            parts.append("[^/]")
            place += 1
        elif rest[0] == "[" and (match := re.match(r"\[([!^]?)(\]?[^\]]*)\]", rest)):
            inside = match[2].replace("\\", "\\\\").replace("[", "\\[")
            parts.append(f"[{'^' if match[1] else ''}{inside}]")
            place += match.end()
        elif rest[0] == "\\" and len(rest) > 1:
            parts.append(re.escape(rest[1]))
            place += 2
        else:
            parts.append(re.escape(rest[0]))
            place += 1
    return "".join(parts)
