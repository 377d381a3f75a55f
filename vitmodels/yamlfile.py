"""YAML as people mean it: the scalars of YAML 1.2's core schema, and no key twice.

PyYAML reads YAML 1.1, where `1e-3` is text, `12:30:00` is a number and `no` is false. A recipe with
`weight_decay: 1e-4` must be a number, so the table of scalar forms is replaced here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from vitmodels.errors import RecipeError

_FORMS = (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        list("-+0123456789."),
    ),
)


class _Loader(yaml.SafeLoader):
    """SafeLoader with the core schema's scalars; a repeated key is an error."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012  (PyYAML's own class attribute)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} appears twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in _FORMS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _loader, node: int(node.value))
_Loader.add_constructor(
    "tag:yaml.org,2002:float",
    lambda _loader, node: float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan")),
)


def parse_yaml(text: str, name: str = "text") -> Any:
    """The value of one YAML document. Raises RecipeError with line and column."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  (derived from SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise RecipeError(f"{place}: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise RecipeError(f"{name}: {error}") from error


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file. Raises RecipeError when it is missing or no mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"can't read the recipe {path}: {error}") from error
    if path.suffix == ".json":
        try:
            value = json.loads(text)
        except ValueError as error:
            raise RecipeError(f"{path}: {error}") from error
    else:
        value = parse_yaml(text, str(path))
    if not isinstance(value, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of keys to values, this is {type(value).__name__}")
    return {str(key): item for key, item in value.items()}
