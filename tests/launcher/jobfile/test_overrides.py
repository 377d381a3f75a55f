"""Layers of values: how paths are spelt, which value wins, what stays known of each."""

from __future__ import annotations

from pathlib import Path

from launcher.jobfile.overrides import Kind, Origin, defaults_path, env_layers, set_layers
from vitmodels.document.reader import read
from vitmodels.document.tree import Mapping, leaves, overlay, plain


def same(path: tuple[str, ...]) -> tuple[str, ...]:
    return path


def tree(text: str) -> Mapping:
    node, problems = read(text, "x.yaml")
    assert isinstance(node, Mapping) and not problems
    return node


def values(*words: str) -> list[object]:
    return [layer.tree and plain(layer.tree) for layer in set_layers(words, same)]


def test_values_are_yaml() -> None:
    assert values("a.b=1e-3", "a=[x, 2]", "a={b: true}", "a=12:30:00", "a='3'", "a=", "a=s3://b/c?d=e") == [
        {"a": {"b": 0.001}}, {"a": ["x", 2]}, {"a": {"b": True}}, {"a": "12:30:00"}, {"a": "3"}, {"a": None}, {"a": "s3://b/c?d=e"},
    ]  # fmt: skip


def test_a_variable_of_the_program_is_text() -> None:
    """The shell takes quotes away, so nobody could say that a number is meant as text."""
    assert values("env.N=2", "env.ON=true", "env.X='a'") == [
        {"env": {"N": "2"}}, {"env": {"ON": "true"}}, {"env": {"X": "a"}},
    ]  # fmt: skip


def test_a_wrong_override_is_a_problem_and_no_value() -> None:
    for words in ("a", "=3", "a..b=3", ".a=3", "a.=3", "", "a=[1", "a=@", "a={b: 1, b: 2"):
        (layer,) = set_layers([words], same)
        assert layer.tree is None, words
        assert layer.problems, words
        assert str(layer.problems[0]).startswith(f"--set {words}"), words


def test_places_of_overrides_hold_no_credentials() -> None:
    (layer,) = set_layers(["data.url=s3://key:secret@bucket"], same)
    assert layer.tree is not None
    node = layer.tree.pairs[0].value
    assert isinstance(node, Mapping)
    assert node.pairs[0].value.place.file == "--set data.url=s3://**********@bucket"
    assert plain(layer.tree) == {"data": {"url": "s3://key:secret@bucket"}}


def test_variables_use_two_underscores_for_a_dot() -> None:
    env = {
        "LAUNCHER_SET_MODEL__SET__BASE_LR": "1e-3",
        "LAUNCHER_SET_TASK": "eval",
        "PATH": "x",
        "LAUNCHER_HOME": "y",
    }
    layers = env_layers(env, lambda path: tuple(part.lower() for part in path))
    assert [layer.tree and plain(layer.tree) for layer in layers] == [
        {"model": {"set": {"base_lr": 0.001}}},
        {"task": "eval"},
    ]
    assert {layer.kind for layer in layers} == {Kind.env}


def test_sections_merge_and_other_values_replace() -> None:
    low = tree("a: {x: 1, y: [1, 2], z: {p: 1}}\nb: 1\n")
    high = tree("a: {y: [3], z: {q: 2}, w: 0}\nb: {c: 1}\n")
    assert plain(overlay([low, high])) == {
        "a": {"x": 1, "y": [3], "z": {"p": 1, "q": 2}, "w": 0},
        "b": {"c": 1},
    }
    assert plain(overlay([high, low])) == {
        "a": {"y": [1, 2], "z": {"q": 2, "p": 1}, "w": 0, "x": 1},
        "b": 1,
    }


def test_leaves_are_values_with_their_paths() -> None:
    assert [".".join(path) for path, _ in leaves(tree("a: {b: 1, c: {d: [1]}, e: {}}\nf: 2"))] == [
        "a.b",
        "a.c.d",
        "a.e",
        "f",
    ]


def test_defaults_file_is_looked_for_at_one_place() -> None:
    assert defaults_path({"LAUNCHER_HOME": "/h", "HOME": "/u"}) == Path("/h/defaults.yaml")
    assert defaults_path({"HOME": "/u"}) == Path("/u/.config/ascend-launcher/defaults.yaml")
    assert defaults_path({"HOME": "/u", "XDG_CONFIG_HOME": "/c"}) == Path("/c/ascend-launcher/defaults.yaml")


def test_precedence_is_the_order_of_the_kinds() -> None:
    assert sorted(Kind) == [Kind.default, Kind.defaults_file, Kind.file, Kind.env, Kind.set, Kind.backend]
    assert str(Origin(Kind.default)) == "default"
    assert str(Origin(Kind.file, "jobs/x.yaml:3")) == "jobs/x.yaml:3"
