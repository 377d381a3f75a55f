"""The JSON Schema of job files, and what it says about one value in words (`a whole number ≥ 1`)."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, BeforeValidator
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from launcher import units
from launcher.jobfile.suggest import listing

DIALECT = "https://json-schema.org/draft/2020-12/schema"
EXPECTED = "x-expected"  # words for a value; internal, left out of what `launcher schema` prints

Schema = Mapping[str, Any]

_WORDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a section with 'key: value' lines",
}


def _parser_of(annotated: object) -> object:
    """The function that reads the text form of a type such as units.Duration."""
    return next(part.func for part in get_args(annotated) if isinstance(part, BeforeValidator))


_DURATION_PATTERN = r"^\s*(\d+-)?\d+:[0-5]\d(:[0-5]\d)?\s*$|^\s*(\d+(\.\d+)?\s*(s|sec|m|min|h|d)\s*)+$"
_SIZE_PATTERN = r"^\s*\d+(\.\d+)?\s*([KMGTP]i?B?|B)?\s*$"
_TEXT_FORMS: dict[object, dict[str, Any]] = {
    _parser_of(units.Duration): {
        "type": ["string", "integer"],
        "pattern": _DURATION_PATTERN,
        EXPECTED: f"a duration such as {units.DURATION_FORMS}",
    },
    _parser_of(units.Size): {
        "type": ["string", "integer"],
        "pattern": _SIZE_PATTERN,
        EXPECTED: f"a size such as {units.SIZE_FORMS}",
    },
}


class _Generator(GenerateJsonSchema):
    """pydantic's generator, which knows nothing of the text forms of durations and sizes."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        inner = super().function_before_schema(schema)
        return {**inner, **_TEXT_FORMS.get(schema["function"]["function"], {})}


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
        self.root: Schema = _bounds(model.model_json_schema(schema_generator=_Generator))

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
            found = items[part] if part < len(items) else schema.get("items")
        else:
            found = schema.get("properties", {}).get(part, schema.get("additionalProperties"))
        return found if isinstance(found, Mapping) else {} if found is True else None

    def keys(self, path: Iterable[str | int]) -> tuple[str, ...]:
        """The keys a section may have, in the order of the job file; none for a free mapping."""
        return tuple((self.at(path) or {}).get("properties", {}))

    def is_section(self, path: Iterable[str | int]) -> bool:
        return (self.at(path) or {}).get("type") == "object"

    def expected(self, path: Iterable[str | int]) -> str:
        """What may stand at a path, in words; '' when anything may."""
        schema = self.at(path)
        return "" if schema is None else self.words(schema)

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


def job_schema() -> dict[str, Any]:
    """The published schema of job files. Recipe keys below `model.set` are known, except for a program of one's own."""
    from launcher.jobfile.spec import JobSpec
    from vitmodels.config import known_keys

    schema = _published(schema_of(JobSpec).root)
    recipe = recipe_schema()
    schema["$defs"]["ModelSpec"]["properties"]["set"]["properties"] = recipe["properties"]
    only_known = {"properties": {"set": {"propertyNames": {"enum": known_keys()}}}}
    schema |= {"if": {"required": ["program"]}, "else": {"properties": {"model": only_known}}}
    return {"$schema": DIALECT, **schema, "title": "Job file of ascend-launcher"}


def recipe_schema() -> dict[str, Any]:
    """The published schema of recipe files, with the other README's names for keys."""
    from vitmodels.config import ALIASES, Recipe, known_keys

    schema = _published(schema_of(Recipe).root)
    own = dict(schema["properties"])
    for key in known_keys():
        if key not in own:
            ours = ALIASES.get(key)
            schema["properties"][key] = (
                {"description": f"the vit_base README's name for {ours}"} if ours else {}
            )
    return {"$schema": DIALECT, **schema, "title": "Recipe of ascend-launcher"}


def text(schema: Schema) -> str:
    """A schema as the text of a file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _published(schema: Any, *, names: bool = False) -> Any:
    """The schema without internal keywords and generated titles. `names`: the keys are names, not keywords."""
    if isinstance(schema, list):
        return [_published(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value
        if key in ("default", "examples")
        else _published(value, names=key in ("properties", "$defs"))
        for key, value in schema.items()
        if names or key not in (EXPECTED, "title")
    }
