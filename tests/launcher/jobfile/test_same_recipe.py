"""A recipe is read alike by `launcher check` and by the training programs: the same value, or the same problems."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher.jobfile.load import JobFileError, load_job
from tests.seeds import examples
from vitmodels.config import Recipe
from vitmodels.document.problem import Problem
from vitmodels.errors import RecipeError
from vitmodels.program import common_parser, read_recipe
from vitmodels.recipe_keys import known_keys

JOB = "name: a\nmodel: {config: recipe.yaml}\ndata: {url: d}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("job.yaml").write_text(JOB, encoding="utf-8")
    return tmp_path


def checked(sets: list[str]) -> Recipe | tuple[Problem, ...]:
    """What `launcher check` finds in recipe.yaml."""
    try:
        job = load_job("job.yaml", overrides=sets, env={}, defaults_file=Path("none.yaml"))
    except JobFileError as error:
        return error.problems
    assert job.recipe is not None
    return job.recipe


def trained(sets: list[str], name: str = "recipe.yaml") -> Recipe | tuple[Problem, ...]:
    """What `python -m vitmodels.train --config recipe.yaml` finds in it."""
    words = ["--config", name, *(word for text in sets for word in ("--set", text))]
    try:
        return read_recipe(common_parser("train", "").parse_args(words))
    except RecipeError as error:
        assert error.problems
        return error.problems


def agree(document: str | bytes, sets: list[str] | None = None) -> Recipe | tuple[Problem, ...]:
    data = document if isinstance(document, bytes) else document.encode("utf-8", "surrogatepass")
    Path("recipe.yaml").write_bytes(data)
    found = trained(sets or [])
    by_launcher = checked([f"model.set.{text}" for text in sets or []])
    if sets and not isinstance(found, Recipe):
        assert not isinstance(by_launcher, Recipe)
        assert [comparable(problem) for problem in found] == [comparable(problem) for problem in by_launcher]
    else:
        assert found == by_launcher
    if isinstance(found, Recipe):
        Path("recipe.json").write_text(json.dumps(found.json_dict()), encoding="utf-8")
        assert trained([], "recipe.json") == found
    return found


def comparable(problem: Problem) -> tuple[str, str, int]:
    """What is alike of a problem of an override, whose words and path differ: `--set model.set.epochs=ten`."""
    return problem.message, problem.hint, problem.place.line


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        ("seed: 0x10", 16),
        ("seed: 010", 10),
        ("seed: 0o17", 15),
        ("seed: !!int '7'", 7),
        ("base: &b {seed: 3}\n", None),
        ("<<: {seed: 3}", 3),
        ("<<: [{seed: 3}, {seed: 4}]", 3),
        ("seed: &s 5\nepochs: *s", 5),
        ("seed: 1e3", None),
        ("seed: 1_000", None),
        ("seed: '3'", None),
        ("seed: 3.0", None),
        ("seed: true", None),
        ("base_lr: 1e999", None),
        ("base_lr: .inf", None),
        ("base_lr: '1e-3'", None),
        ("1: 2", None),
        ("~: 2", None),
        ("? [a]\n: 2", None),
        ("!!set {seed}", None),
        ("!!omap [seed: 3]", None),
        ("seed: !!python/name:os.system ''", None),
        ('set: "\\ud83d\\ude00"', 0),
        ('set: "\\ud83d"', None),
        ("set: \ud83d", None),
        ("seed: 1\nseed: 2", None),
        ("--- {seed: 1}\n--- {seed: 2}", None),
        ('\t{"seed":\t6}', 6),
        ('{"seed"\n: 6}', 6),
        ("\ufeffseed: 6", 6),
        ("", None),
        ("- seed", None),
        ("a: " + "[" * 100_000, None),
        ('{"' + "k" * 5000 + '": 1}', None),
        ("seed: " + "9" * 5000, None),
    ],
)
def test_documents_that_two_readers_once_read_differently(
    folder: Path, document: str, wanted: int | None
) -> None:
    found = agree(document)
    assert (found.seed if isinstance(found, Recipe) else None) == wanted


KEY = st.sampled_from(
    [*known_keys(), "epoch", "learning_rate", "<<", "1", "~", "!!str seed", "'lr_init'", "? [a]\n", "&a seed"]
)
SCALAR = st.sampled_from(
    ["0x10", "010", "0o17", "1e999", "1e-3", "-0", "+1", ".5", "5.", "3.0", ".inf", "-.INF", ".nan", "~", "", "null", "yes", "no", "true",
     "TRUE", "12:30:00", "2026-01-01", "1_000", "'3'", '"3"', "!!int 3", "!!int '3'", "!!float 3", "!!str 3", "! 3", "!!set {a}", "!!binary YQ==",
     '"\\ud83d\\ude00"', '"\\ud83d"', '"\\x00"', "[0.9, 0.99]", "[1", "[0.9, x]", "{a: 1}", "{seed: 3, epochs: 2}", "*a", "&a 3", "\t3", "@",
     "adamw", "momentum", "tnt_digits", "ViT-B/16", "rand-m9", "a.ckpt", "True", "False", "9" * 50, "224", "cosine_lr", "multistep_lr"]
)  # fmt: skip
LINE = st.builds(
    lambda key, value, space: f"{key}:{space}{value}", KEY, SCALAR, st.sampled_from([" ", "\t", "\n  ", ""])
)
BLOCK = st.lists(LINE, max_size=6).map("\n".join)
FLOW = st.lists(LINE, max_size=4).map(lambda lines: "{" + ",\n ".join(lines) + "}")
JSON = st.dictionaries(
    st.sampled_from([*known_keys(), "k" * 2000]), st.integers(0, 300) | st.floats() | st.text(max_size=5) | st.none() | st.booleans(), max_size=4
).map(json.dumps)  # fmt: skip


@given(document=BLOCK | FLOW | JSON)
@settings(max_examples=examples(50, 1500), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_document_is_read_alike(folder: Path, document: str) -> None:
    agree(document)


@given(key=st.sampled_from([*known_keys(), "epoch"]), value=SCALAR)
@settings(max_examples=examples(20, 600), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_override_is_read_alike(folder: Path, key: str, value: str) -> None:
    agree("arch: tnt_digits\nepochs: 3\n", [f"{key}={value}"])
