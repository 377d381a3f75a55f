"""What a pydantic model says about one of its values, in words (`a whole number ≥ 1`), by way of its JSON Schema."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from vitmodels.suggest import listing

EXPECTED = "x-expected"  # words for a value
TEXT_FORM = "x-text-form"  # the form in which a number may be written as text: "duration", "size"
INTERNAL = frozenset((EXPECTED, TEXT_FORM))
"""Keywords of our own, left out of schemas that are published."""

Schema = Mapping[str, Any]

_WORDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a section with 'key: value' lines",
}


_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def _bounds(schema: Any) -> Any:
    """Limits under their JSON Schema names; pydantic leaves its own when a validator stands before them."""
    if isinstance(schema, list):
        return [_bounds(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    number = "integer" in schema.get("type", ()) or schema.get("type") == "number"
    return {_BOUNDS.get(key, key) if number else key: _bounds(value) for key, value in schema.items()}


class ModelSchema:
    """The schema of one pydantic model, with its references resolved on the way down a path."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.root: Schema = _bounds(model.model_json_schema())

    def resolve(self, schema: Schema) -> Schema:
        """Follow `$ref` and drop the `null` of an optional value; keywords beside a `$ref` win."""
        while True:
            if "$ref" in schema:
                target = self.root["$defs"][schema["$ref"].rpartition("/")[2]]
                schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
                continue
            options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
            if len(options) != 1:
                return schema
            schema = {**options[0], **{key: value for key, value in schema.items() if key != "anyOf"}}

    def at(self, path: Iterable[str | int]) -> Schema | None:
        """The schema of the value at a path; None for a path that can't exist."""
        schema = self.resolve(self.root)
        for part in path:
            below = self._below(schema, part)
            if below is None:
                return None
            schema = self.resolve(below)
        return schema

    def _below(self, schema: Schema, part: str | int) -> Schema | None:
        if isinstance(part, int):
            items = schema.get("prefixItems", ())
            child = items[part] if part < len(items) else schema.get("items")
        else:
            child = schema.get("properties", {}).get(part, schema.get("additionalProperties"))
        return child if isinstance(child, Mapping) else {} if child is True else None

    def keys(self, path: Iterable[str | int]) -> tuple[str, ...]:
        """The keys a section may have, in the order of the job file; none for a free mapping."""
        return tuple((self.at(path) or {}).get("properties", {}))

    def is_section(self, path: Iterable[str | int]) -> bool:
        return (self.at(path) or {}).get("type") == "object"

    def words(self, schema: Schema) -> str:
        """The words for one schema."""
        schema = self.resolve(schema)
        if EXPECTED in schema:
            return str(schema[EXPECTED])
        if "anyOf" in schema:
            return listing(dict.fromkeys(self.words(option) for option in schema["anyOf"]))
        if "enum" in schema or "const" in schema:
            values = [str(value) for value in schema.get("enum", [schema.get("const")])]
            return listing(values) if len(values) > 1 else f"'{values[0]}', the only choice"
        kind = schema.get("type")
        if kind == "array":
            return self._list_words(schema)
        if kind == "string":
            return _text_words(schema)
        word = _WORDS.get(str(kind), "")
        return word + _range(schema) if kind in ("integer", "number") else word

    def _list_words(self, schema: Schema) -> str:
        first = schema.get("prefixItems") or [schema.get("items", {})]
        item = self.words(first[0]) or "values"
        item = item.removeprefix("a ")
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        count = f"{least} " if least == most else ""
        more = f", at least {least}" if least and least != most else ""
        if item == "text":
            return f"a list of {count}texts{more}"
        each = item.replace("number", "numbers", 1) if "number" in item else f"values, each {item}"
        return f"a list of {count}{each}{more}"


def _text_words(schema: Schema) -> str:
    """Text with a pattern is described by the field's own description, up to its first semicolon."""
    if "pattern" in schema and schema.get("description"):
        return str(schema["description"]).partition(";")[0].rstrip(".")
    return "text"


def _range(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    bounds = (("≥", low), (">", above), ("≤", high), ("<", below))
    words = [f"{sign} {_exact(bound)}" for sign, bound in bounds if bound is not None]
    return f" {' and '.join(words)}" if words else ""


def _exact(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


@functools.cache
def schema_of(model: type[BaseModel]) -> ModelSchema:
    """The schema of a model, made once."""
    return ModelSchema(model)
