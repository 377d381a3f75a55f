"""Places of keys and values, YAML's structure, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.seeds import examples
from vitmodels.document.problem import Place
from vitmodels.document.reader import read
from vitmodels.document.tree import Mapping, Node, Sequence, plain

TEXT = """\
# a comment
name: a   # another
model:
  set: {epochs: 3, beta: [0.9,
      0.999]}
  "quoted key": |
    two
    lines
"""


def load(text: str | bytes, name: str) -> Node:
    node, problems = read(text, name)
    assert node is not None and not problems, problems
    return node


def at(node: Node, *path: str | int) -> Node:
    for part in path:
        if isinstance(node, Mapping):
            found = node.get(str(part))
            assert found is not None
            node = found
        else:
            assert isinstance(node, Sequence) and isinstance(part, int)
            node = node.items[part]
    return node


def messages(text: str | bytes) -> list[str]:
    return [f"{p.place.line}:{p.place.column} {p.message}" for p in read(text, "x.yaml")[1]]


def test_places_of_values() -> None:
    tree = load(TEXT, "x.yaml")
    places = {
        ("name",): (2, 7),
        ("model",): (4, 3),
        ("model", "set"): (4, 8),
        ("model", "set", "epochs"): (4, 17),
        ("model", "set", "beta"): (4, 26),
        ("model", "set", "beta", 0): (4, 27),
        ("model", "set", "beta", 1): (5, 7),
        ("model", "quoted key"): (6, 17),
    }
    found = {path: (at(tree, *path).place.line, at(tree, *path).place.column) for path in places}
    assert found == places
    assert str(at(tree, "model", "set", "epochs").place) == "x.yaml:4:17"


def test_places_of_keys_are_where_the_source_line_says() -> None:
    model = at(load(TEXT, "x.yaml"), "model")
    assert isinstance(model, Mapping)
    for pair in model.pairs:
        place = pair.key_place
        assert place.source_line[place.column - 1 :].lstrip('"').startswith(pair.key)


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_lines_are_counted_with_any_line_break(line_break: str) -> None:
    tree = load(line_break.join(["a: 1", "b: 2", "c: x"]), "x.yaml")
    place = at(tree, "c").place
    assert (place.line, place.column, place.source_line) == (3, 4, "c: x")


def test_byte_order_mark_is_no_part_of_the_first_key() -> None:
    assert plain(load("\ufeffa: 1".encode(), "x")) == {"a": 1}
    assert at(load("\ufeffa: 1", "x"), "a").place.column == 4


def test_prefix_shifts_the_first_line_only() -> None:
    node, problems = read("[1,\n 2]", "--set", in_file=False, prefix="--set a=")
    assert not problems and isinstance(node, Sequence)
    assert [(i.place.line, i.place.column) for i in node.items] == [(1, 10), (2, 2)]
    assert node.place.source_line == "--set a=[1,"
    assert str(node.place) == "--set"


@pytest.mark.parametrize("character", ["\x85", "\u2028", "\u2029"])
def test_the_line_breaks_of_yaml_1_1_are_ordinary_characters(character: str) -> None:
    text = f'a: x{character}y\nb: "x {character} y\\L"\nc: 3'
    tree = load(text, "x.yaml")
    assert plain(tree) == {"a": f"x{character}y", "b": f"x {character} y\u2028", "c": 3}
    assert (at(tree, "c").place.line, at(tree, "c").place.column) == (3, 4)


# -- JSON


TEXT_OF_JSON = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
    | st.sampled_from("\t\n\r\x85\u2028\u2029\ufeff\"\\/:#,[]{}&*!|>'%@`-? ")
)
KEYS = TEXT_OF_JSON | st.builds(lambda text: f"{text[:8]}~" * (1200 // (len(text[:8]) + 1)), TEXT_OF_JSON)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False) | KEYS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
COLONS = st.sampled_from([": ", ":", " : ", "\t:\t", "\n:\n", "\r\n:", " \t\n\t: \t"])
COMMAS = st.sampled_from([", ", ",", "\t,\t", "\n,\n", " ,\r\n\t"])


@given(
    value=VALUES,
    indent=st.sampled_from([None, 2, "\t"]),
    colon=COLONS,
    comma=COMMAS,
    ascii_only=st.booleans(),
    before=st.sampled_from(["", " ", "\t", "\n\t ", "\r\n"]),
)
@settings(max_examples=examples(35, 1000))
def test_json_is_read_as_json_means_it(
    value: Any, indent: int | str | None, colon: str, comma: str, ascii_only: bool, before: str
) -> None:
    text = before + json.dumps(value, indent=indent, separators=(comma, colon), ensure_ascii=ascii_only)
    tree = load(text, "x.json")
    assert plain(tree) == json.loads(text) == value
    for place, first in places_of_keys(tree):
        assert place.source_line[place.column - 1] == first


def places_of_keys(tree: Node) -> Iterator[tuple[Place, str]]:
    """Where each key stands, with the character that is found there."""
    if isinstance(tree, Mapping):
        for pair in tree.pairs:
            yield pair.key_place, '"'
            yield from places_of_keys(pair.value)
    elif isinstance(tree, Sequence):
        for item in tree.items:
            yield from places_of_keys(item)


LONG = "k" * 5000


@pytest.mark.parametrize(
    "text",
    [
        f'{{"{LONG}": 1}}',
        f"{{'{LONG}': 1}}",
        f"{{{LONG}: 1}}",
        f'{{"a": 0, "{LONG}"\n:\n1}}',
        f"{LONG}: 1",
        f'"{LONG}": 1',
        f'- "{LONG}": 1',
        f"{{? {LONG} : 1}}",
        f"a: {{b: [{{'{LONG}': 1}}]}}",
        f"{{&anchor '{LONG}': 1}}",
        f"{{!!str '{LONG}': 1}}",
    ],
)
def test_keys_may_be_long(text: str) -> None:
    assert f"'{LONG}': 1" in str(plain(load(text, "x.yaml")))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a"\n  : 1}', {"a": 1}),
        ("{a\n  b\n  : 1}", {"a b": 1}),
        ("{a: 1,\n b\n: 2}", {"a": 1, "b": 2}),
        ("a:\tb", {"a": "b"}),
        ("a: 1\t# comment\n\t\n \t# comment\nb: 2", {"a": 1, "b": 2}),
        ("a: [1,\n\t2]", {"a": [1, 2]}),
        ('\t{"a":\t1}\t', {"a": 1}),
        ("{a: 1}\t", {"a": 1}),
    ],
)
def test_keys_across_lines_and_tabs_are_read_by_yaml_1_2(text: str, value: object) -> None:
    assert plain(load(text, "x.yaml")) == value


@pytest.mark.parametrize(
    "text", ["\ta: 1", '\t"a": 1', "a:\n\tb: 1", "-\ta: 1", "a:\n  b: 1\n\tc: 2", "- a\n\t- b"]
)
def test_a_tab_that_would_indent_a_section_is_refused(text: str) -> None:
    assert "a tab can't be used for indentation" in messages(text)[-1]


@pytest.mark.parametrize("text", ["[a\nb: 1]", '["a"\n: 1]', "a\n: 1", "? a\nb: [c\n: d]"])
def test_outside_braces_a_key_has_its_colon_on_its_line(text: str) -> None:
    assert messages(text)


@pytest.mark.parametrize("opening", ["[", "{a: ", '{"a":', "[[{a: ", "- ", "? "])
def test_any_depth_is_a_problem_and_no_crash(opening: str) -> None:
    text = opening * (200_000 // len(opening))
    assert messages(text) and read(text, "x.yaml")[0] is None


def test_a_huge_number_is_refused() -> None:
    digits = "9" * 100_000
    assert messages(f"a: {digits}") == ["1:4 a number of 100000 digits is too long"]
    assert messages(f'{{"a": -1{digits}.5e{digits}}}') == [f"1:7 -1{digits[:38]}… is too large for a number"]


# -- keys, anchors, tags


def test_every_duplicate_key_is_a_problem() -> None:
    problems = read("a: 1\nb: {c: 1, c: 2}\na: 2\na: 3\n", "x")[1]
    assert [(p.place.line, p.place.column) for p in problems] == [(2, 11), (3, 1), (4, 1)]
    assert [p.related and (p.related.line, p.related.column) for p in problems] == [(2, 5), (1, 1), (1, 1)]


def test_keys_are_text_as_written() -> None:
    assert plain(load("1: a\nno: b\n~: c\n1e3: d\n", "x")) == {
        "1": "a",
        "no": "b",
        "~": "c",
        "1e3": "d",
    }


def test_quoted_and_plain_key_of_the_same_text_are_the_same_key() -> None:
    assert messages("1: a\n'1': b\n") == ["2:1 the key '1' appears twice in this section"]


def test_aliases_keep_the_place_of_what_they_name() -> None:
    tree = load("a: &x [1, 2]\nb: *x\n", "x")
    assert plain(tree) == {"a": [1, 2], "b": [1, 2]}
    assert at(tree, "b", 1).place.line == 1


def test_merge_keys_fill_in_what_is_absent() -> None:
    text = "base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\none: {<<: *b, y: 9}\ntwo: {x: 0, <<: [*m, *b]}\n"
    tree = plain(load(text, "x"))
    assert isinstance(tree, dict)
    assert tree["one"] == {"y": 9, "x": 1}
    assert tree["two"] == {"x": 0, "y": 3, "z": 4}


def test_quoted_merge_sign_is_an_ordinary_key() -> None:
    assert plain(load('"<<": 1', "x")) == {"<<": 1}


# -- limits


# -- syntax errors
