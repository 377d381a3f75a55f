"""Whatever a job file holds, the answer is a job or an error that names places; never a traceback, never a long wait."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher.jobfile.load import JobFileError, LoadedJob, load_job
from launcher.jobfile.spec import JobSpec
from tests.cost import answer_within
from tests.seeds import examples
from vitmodels.document.reader import MAX_VALUES, read
from vitmodels.recipe_keys import known_keys

QUICK = settings(max_examples=examples(20, 600), suppress_health_check=[HealthCheck.function_scoped_fixture])


def check(
    folder: Path, data: bytes, overrides: tuple[str, ...] = (), env: dict[str, str] | None = None
) -> None:
    path = folder / "job.yaml"
    path.write_bytes(data)
    try:
        job = load_job(path, overrides=overrides, env=env or {}, defaults_file=folder / "none.yaml")
    except JobFileError as error:
        assert error.problems
        text = str(error)
        assert "Input should" not in text
        json.dumps(error.to_json())
        text.encode("utf-8")
        for problem in error.problems:
            place = problem.place
            if place.line and place.in_file:
                assert 1 <= place.column <= len(place.source_line) + 1, problem
    else:
        assert isinstance(job, LoadedJob)


@given(data=st.binary(max_size=300))
@QUICK
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    check(tmp_path, data)


@given(text=st.text(max_size=300))
@QUICK
def test_any_text(tmp_path: Path, text: str) -> None:
    check(tmp_path, text.encode("utf-8", "replace"))


TOKENS = st.sampled_from(
    [*"-:?,[]{}#&*!|>'\"%@`~<\n\t \\", "name", "model", ": ", "- ", "\n  ", "\n    ", "<<: ", "*a", "&a ", "!!str ", "!!int ",
     "!x ", "---\n", "...\n", "1e-3", "0x1f", ".nan", ".inf", "true", "null", "12:30:00", "arch: tnt_digits", "\\x41", "é", "\U0001f600",
     "\u2028", "\x85", "\ufeff", "%YAML 1.1\n"]
)  # fmt: skip


@given(parts=st.lists(TOKENS, max_size=40))
@QUICK
def test_yaml_like_text(tmp_path: Path, parts: list[str]) -> None:
    check(tmp_path, "".join(parts).encode())


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["3", "no", "1e-3"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def _paths() -> list[tuple[str, ...]]:
    paths: list[tuple[str, ...]] = [("nonsense",)]
    for name, info in JobSpec.model_fields.items():
        paths.append((name,))
        paths += [(name, below) for below in getattr(info.annotation, "model_fields", {})]
    return paths + [("model", "set", key) for key in known_keys()]


@given(changes=st.dictionaries(st.sampled_from(_paths()), VALUES, min_size=1, max_size=4))
@settings(QUICK, max_examples=examples(35, 1000))
def test_any_value_at_any_key(tmp_path: Path, changes: dict[tuple[str, ...], Any]) -> None:
    job: dict[str, Any] = {"name": "a", "model": {"arch": "tnt_digits"}, "data": {"url": "d"}}
    for path, value in changes.items():
        holder: Any = job
        for part in path[:-1]:
            if not isinstance(holder.setdefault(part, {}), dict):
                holder[part] = {}
            holder = holder[part]
        holder[path[-1]] = value
    check(tmp_path, json.dumps(job).replace("Infinity", ".inf").replace("NaN", ".nan").encode())


@given(
    words=st.text(max_size=20),
    value=st.text(max_size=20),
    name=st.sampled_from(["MODEL__SET__EPOCHS", "X", "", "__", "ENV__A"]),
)
@QUICK
def test_any_override(tmp_path: Path, words: str, value: str, name: str) -> None:
    good = b"name: a\nmodel: {arch: tnt_digits}\ndata: {url: d}\n"
    check(tmp_path, good, (words, f"epochs={value}", f"{words}={value}"), {f"LAUNCHER_SET_{name}": value})


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
MERGE_BOMB = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}], k{i}: *a{i - 1}}}\n" for i in range(1, 60)
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("alias bomb", BOMB),
        ("merge bomb", MERGE_BOMB),
        ("deep flow", "[" * 100_000),
        ("deep mapping", "{a: " * 50_000),
        ("deep block", "\n".join(" " * i + "a:" for i in range(600))),
        ("deep dashes", "- " * 100_000),
        ("deep questions", "? " * 100_000),
        ("long text", "a: " + "x" * 200_000),
        ("long quoted", 'a: "' + "x " * 100_000),
        ("many keys", "".join(f"k{i}: {i}\n" for i in range(15_000))),
        ("many items", "a: [" + "1," * 100_000 + "]"),
        ("many anchors", "".join(f"- &a{i} x\n" for i in range(20_000))),
        ("long number", "a: " + "9" * 200_000),
        ("long float", "a: 1." + "9" * 100_000 + "e" + "9" * 100_000),
        ("comments", "# " + "x" * 100 + "\n" + "#\n" * 100_000),
        ("spaces", " " * 200_000 + "a"),
        ("huge", "a: b\n" * 10_000_000),
    ],
)  # fmt: skip
def test_hostile_text_is_refused_quickly(name: str, text: str) -> None:
    node, problems = answer_within(40, lambda: read(text, name))
    assert node is None or node.size <= MAX_VALUES
    assert node is not None or problems


def test_a_huge_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    with path.open("wb") as file:
        file.truncate(50 * 2**30)  # sparse: reading it all would take minutes and all memory

    def refused() -> None:
        with pytest.raises(JobFileError, match="too large"):
            load_job(path, env={})

    answer_within(20, refused)
