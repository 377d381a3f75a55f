"""The published JSON Schema accepts what the loader accepts, refuses what it refuses, and explains every key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from launcher.cli import main
from launcher.jobfile.schema import job_schema, recipe_schema, text
from vitmodels.document.reader import read
from vitmodels.document.tree import plain

ROOT = Path(__file__).resolve().parents[3]
WRONG = Path(__file__).parent / "golden"
VALIDATOR = jsonschema.Draft202012Validator(job_schema())
RECIPES = jsonschema.Draft202012Validator(recipe_schema())


def values(path: Path) -> object:
    node, problems = read(path.read_bytes(), str(path))
    assert node is not None and not problems
    return plain(node)


def job(**values: Any) -> dict[str, Any]:
    return {"name": "a", "model": {"arch": "tnt_digits"}, "data": {"url": "d"}, **values}


def test_it_is_a_schema_of_2020_12() -> None:
    for schema in (job_schema(), recipe_schema()):
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("path", sorted((ROOT / "jobs").glob("*.yaml")), ids=lambda path: path.name)
def test_the_jobs_of_this_project_agree_with_it(path: Path) -> None:
    VALIDATOR.validate(values(path))
    assert path.read_text(encoding="utf-8").startswith(
        "# yaml-language-server: $schema=../docs/job.schema.json\n"
    )


@pytest.mark.parametrize(
    "path", sorted((ROOT / "vitmodels" / "configs").glob("*.yaml")), ids=lambda path: path.name
)
def test_the_recipes_of_this_project_agree_with_it(path: Path) -> None:
    RECIPES.validate(values(path))


def test_the_schema_that_editors_read_is_the_present_one() -> None:
    published = (ROOT / "docs" / "job.schema.json").read_text(encoding="utf-8")
    assert published == text(job_schema()), "run: launcher schema > docs/job.schema.json"


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == job_schema()
    assert main(["schema", "--recipe"]) == 0
    assert json.loads(capsys.readouterr().out) == recipe_schema()


def _fields(schema: Any, at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in schema.get("properties", {}).items():
        yield f"{at}.{name}", field
    for name, section in schema.get("$defs", {}).items():
        yield from _fields(section, name)


def _unexplained(schema: dict[str, Any]) -> set[str]:
    sections = {f"#/$defs/{name}": section for name, section in schema.get("$defs", {}).items()}
    fields = [(name, {**sections.get(field.get("$ref", ""), {}), **field}) for name, field in _fields(schema)]
    return {name for name, field in fields if len(field.get("description", "")) < 8}


def test_every_key_is_explained() -> None:
    assert _unexplained(job_schema()) == set()
    assert _unexplained(recipe_schema()) <= {".pre_trained", ".checkpoint_path", ".device_id"}


def test_examples_and_defaults_are_valid() -> None:
    schema = job_schema()
    for name, field in _fields(schema):
        checker = jsonschema.Draft202012Validator({**field, "$defs": schema["$defs"]})
        for value in [*field.get("examples", []), *([field["default"]] if "default" in field else [])]:
            assert checker.is_valid(value), (name, value)


def test_internal_words_are_not_published() -> None:
    assert "x-expected" not in text(job_schema()) + text(recipe_schema())


@pytest.mark.parametrize("limit", ["90s", "30min", "1h30min", "12:30:00", "1-12:00:00", "1.5h", 90])
def test_durations_may_be_text(limit: object) -> None:
    VALIDATOR.validate(job(resources={"time_limit": limit}))


@pytest.mark.parametrize("limit", ["5 lightyears", "90", 1.5, True, -1, [1]])
def test_other_durations_are_wrong(limit: object) -> None:
    assert not VALIDATOR.is_valid(job(resources={"time_limit": limit}))


def test_recipe_keys_are_known_below_model_set() -> None:
    def allowed(**settings: Any) -> bool:
        return VALIDATOR.is_valid(job(model={"arch": "tnt_digits", "set": settings}))

    assert allowed(epochs=3, lr_init=0.1)
    assert not allowed(epochs="ten")
    assert not allowed(epoch=3)
    assert VALIDATOR.is_valid(job(program=["python", "t.py"], model={"set": {"anything": 3}}))


PLAIN_TYPE_ERRORS = sorted(
    path
    for path in WRONG.glob("*.yaml")
    if path.name.startswith(
        (
            "value_nodes",
            "value_bool",
            "value_export",
            "value_env_n",
            "value_section",
            "key_unknown",
            "value_device",
        )
    )
    and path.name not in ("value_env_name.yaml", "value_nodes_float.yaml")  # 2.0 is an integer to JSON Schema
)


@pytest.mark.parametrize("path", PLAIN_TYPE_ERRORS, ids=lambda path: path.stem)
def test_it_refuses_what_the_loader_refuses(path: Path) -> None:
    assert not VALIDATOR.is_valid(values(path))
