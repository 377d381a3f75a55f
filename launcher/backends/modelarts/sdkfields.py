"""Fields of a request as the classes of Huawei's SDK know them, for what a job file adds by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_PLAIN: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "bool": (bool,), "float": (int, float)}


def wrong_fields(type_name: str, value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Place and mistake of each field that a class of the SDK lacks or has with another type. Needs the SDK."""
    import huaweicloudsdkmodelarts.v1 as sdk

    if match := re.fullmatch(r"list\[(.*)\]", type_name):
        if not isinstance(value, list):
            yield place, "is no list"
            return
        for number, item in enumerate(value):
            yield from wrong_fields(match[1], item, f"{place}.{number}")
    elif match := re.fullmatch(r"dict\(str, (.*)\)", type_name):
        if not isinstance(value, dict):
            yield place, "is no map"
            return
        for key, item in value.items():
            yield from wrong_fields(match[1], item, f"{place}.{key}")
    elif type_name in _PLAIN:
        if not isinstance(value, _PLAIN[type_name]) or (isinstance(value, bool) and type_name != "bool"):
            yield place, f"is no {type_name}"
    elif isinstance(model := getattr(sdk, type_name, None), type):
        if not isinstance(value, dict):
            yield place, "is no map"
            return
        yield from _of_class(model, value, place)


def _of_class(model: Any, value: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    names = {json_name: name for name, json_name in model.attribute_map.items()}
    for key, item in value.items():
        inner = f"{place}.{key}".lstrip(".")
        if key not in names:
            yield inner, f"is no field of the service there; it has {', '.join(sorted(names))}"
        else:
            yield from wrong_fields(model.openapi_types[names[key]], item, inner)


def clashes(body: dict[str, Any], extra: dict[str, Any], place: str = "") -> Iterator[str]:
    """Places of `extra` that have a value in `body` already."""
    for key, value in extra.items():
        inner = f"{place}.{key}".lstrip(".")
        if isinstance(value, dict) and isinstance(body.get(key), dict):
            yield from clashes(body[key], value, inner)
        elif key in body:
            yield inner


def merged(body: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Both together, map by map; where both have a value, that of `body` counts."""
    both = {**extra, **body}
    for key, value in extra.items():
        if isinstance(value, dict) and isinstance(body.get(key), dict):
            both[key] = merged(body[key], value)
    return both
