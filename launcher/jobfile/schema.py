"""The published JSON Schemas: of job files, and of recipes."""

from __future__ import annotations

import json
from typing import Any

from vitmodels.validation.schema import INTERNAL, Schema, schema_of

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def job_schema() -> dict[str, Any]:
    """The published schema of job files. Recipe keys below `model.set` are known, except for a program of one's own."""
    from launcher.jobfile.spec import JobSpec
    from vitmodels.recipe_keys import known_keys

    schema = _published(schema_of(JobSpec).root)
    recipe = recipe_schema()
    schema["$defs"]["ModelSpec"]["properties"]["set"]["properties"] = recipe["properties"]
    only_known = {"properties": {"set": {"propertyNames": {"enum": known_keys()}}}}
    schema |= {"if": {"required": ["program"]}, "else": {"properties": {"model": only_known}}}
    required = schema.pop("required")
    schema["anyOf"] = [{"required": required}, {"required": ["base"]}]  # a base may have what is required
    return {"$schema": DIALECT, **schema, "title": "Job file of ascend-launcher"}


def recipe_schema() -> dict[str, Any]:
    """The published schema of recipe files, with the other README's names for keys."""
    from vitmodels.config import Recipe
    from vitmodels.recipe_keys import ALIASES, known_keys

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
        if names or (key != "title" and key not in INTERNAL)
    }
