"""Values from outside the job file: the user's defaults file, `LAUNCHER_SET_…` variables and `--set`.

Precedence, weakest first: built-in default, defaults file, job file, environment, `--set`, back end.
Each source becomes a tree like the job file's own; `overlay` makes one of them all, and every value keeps its place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

from vitmodels.document.problem import Place, Problem
from vitmodels.document.reader import read
from vitmodels.document.tree import KeyValue, Scalar
from vitmodels.document.tree import Mapping as Tree
from vitmodels.secrets import mask

ENV_PREFIX = "LAUNCHER_SET_"
HOME_VARIABLE = "LAUNCHER_HOME"


class Kind(IntEnum):
    """The sources of values, weakest first."""

    default = 0
    defaults_file = 1
    file = 2
    env = 3
    set = 4
    backend = 5

    def __str__(self) -> str:
        return {"defaults_file": "defaults file", "set": "--set", "backend": "back end"}.get(
            self.name, self.name
        )


@dataclass(frozen=True, slots=True)
class Origin:
    """The source of a value. `detail` is `jobs/x.yaml:14`, `--set epochs=3`, or a variable's name; '' for a default."""

    kind: Kind
    detail: str = ""

    def __str__(self) -> str:
        return self.detail if self.detail else str(self.kind)


DEFAULT = Origin(Kind.default)


@dataclass(frozen=True, slots=True)
class Layer:
    """The values of one source, and the problems met in reading them."""

    kind: Kind
    tree: Tree | None
    problems: tuple[Problem, ...] = ()


Locate = Callable[[tuple[str, ...]], tuple[str, ...]]
"""Completes and spells the dotted path that was typed: ('epochs',) is ('model', 'set', 'epochs')."""


def defaults_path(env: Mapping[str, str]) -> Path:
    """`$LAUNCHER_HOME/defaults.yaml`, else `~/.config/ascend-launcher/defaults.yaml`. It need not exist."""
    if env.get(HOME_VARIABLE):
        return Path(env[HOME_VARIABLE]).expanduser() / "defaults.yaml"
    config = Path(env.get("XDG_CONFIG_HOME") or "~/.config")
    if config.parts[0] == "~":
        config = Path(env.get("HOME") or os.path.expanduser("~"), *config.parts[1:])  # noqa: PTH111 - never raises
    return config / "ascend-launcher" / "defaults.yaml"


def set_layers(overrides: Iterable[str], locate: Locate) -> list[Layer]:
    """One layer for each `PATH=VALUE`; a later one wins."""
    return [_override(Kind.set, "--set ", words, ".", locate) for words in overrides]


def env_layers(env: Mapping[str, str], locate: Locate) -> list[Layer]:
    """One layer for each LAUNCHER_SET_ variable, in the order of their names; `__` stands for the dot."""
    names = sorted(name for name in env if name.startswith(ENV_PREFIX))
    return [
        _override(Kind.env, ENV_PREFIX, f"{n.removeprefix(ENV_PREFIX)}={env[n]}", "__", locate) for n in names
    ]


def _override(kind: Kind, prefix: str, words: str, separator: str, locate: Locate) -> Layer:
    """`PATH=VALUE` as a tree of one value."""
    name, equals, text = words.partition("=")
    shown = mask(f"{prefix}{words}".replace("\n", "⏎"))
    label = f"{prefix}{name}" if kind is Kind.env else _cut(shown)
    if not equals or not all(part.strip() for part in name.split(separator)):
        place = Place(label, 1, len(prefix) + 1, shown, in_file=False)
        example = "--set model.set.epochs=3" if kind is Kind.set else f"{ENV_PREFIX}MODEL__SET__EPOCHS=3"
        return Layer(kind, None, (Problem(place, "expected PATH=VALUE", hint=f"for example {example}"),))
    offset = len(prefix) + len(name) + 1
    node, problems = read(text, label, in_file=False, prefix=shown[:offset])
    if node is None:
        return Layer(kind, None, tuple(problems))
    keys = locate(tuple(part.strip() for part in name.split(separator)))
    if keys[0] in ("env", "args") and isinstance(node, Scalar) and node.value is not None:
        node = replace(node, value=node.text)  # a shell has taken the quotes away: env.N=2 is the text 2
    place = Place(label, 1, len(prefix) + 1, shown, in_file=False)
    for key in reversed(keys):
        node = Tree(place, (KeyValue(key, place, node),), node.size + 2)
    assert isinstance(node, Tree)
    return Layer(kind, node, tuple(problems))


def _cut(text: str, width: int = 60) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
