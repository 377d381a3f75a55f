"""What the reader refuses, and what it makes of aliases, tags, depth and damaged text."""

from __future__ import annotations

import random

import pytest

from tests.seeds import examples
from tests.vitmodels.document.test_reader import load, messages
from vitmodels.document.reader import MAX_DEPTH, read
from vitmodels.document.tree import Scalar, plain


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/name:os.system",
        "!!python/object/apply:os.system",
        "!env",
        "!!binary",
        "!!set",
        "!!timestamp",
    ],
)
def test_foreign_tags_are_refused(tag: str) -> None:
    assert [m for m in messages(f"a: {tag} x") if f"tag {tag} is not allowed" in m]


def test_plain_tags_are_allowed() -> None:
    assert plain(load("a: !!str 3\nb: !!map {c: !!seq [!!int '4']}\nd: ! 5", "x")) == {
        "a": "3",
        "b": {"c": [4]},
        "d": "5",
    }


def test_problems_before_a_syntax_error_are_kept() -> None:
    assert messages("a: !x 1\na: 2\nb: @\n") == [
        "1:4 the tag !x is not allowed here",
        "2:1 the key 'a' appears twice in this section",
        "3:4 a value can't start with '@'",
    ]


def test_depth_has_a_limit() -> None:
    fits = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert not messages(fits)
    assert messages(f"[{fits}]") == [f"1:{MAX_DEPTH + 1} nested more than {MAX_DEPTH} levels deep"]


def test_aliases_count_as_what_they_expand_to() -> None:
    text = "- &a [1,2,3,4,5,6,7,8,9,10]\n- &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
    assert not messages(text)
    assert (
        "more than"
        in messages(text + "- &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n- [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n")[0]
    )


def test_an_empty_text_is_nothing() -> None:
    node, problems = read("", "x")
    assert isinstance(node, Scalar) and node.value is None and not problems


def test_every_syntax_error_has_a_sentence_of_ours(rng: random.Random) -> None:
    """Random pieces of YAML; PyYAML's own words would show behind the colon."""
    pieces = [*"-:?,[]{}#&*!|>'\"%@`~<\n\t \\", "name", ": ", "- ", "\n  ", "*a", "&a ", "!!str ", "!<", "---\n", "...\n", "%YAML 2.0\n",
              "%TAG ! x\n", "|-\n", ">9\n", "|0", "x: y\n", "? ", "!e!a", "{a: 1}", "[1]", '"b"']  # fmt: skip
    for _ in range(examples(500, 15000)):
        text = "".join(rng.choice(pieces) for _ in range(rng.randint(1, 9)))
        for message in messages(text):
            assert "this is not YAML" not in message, text
