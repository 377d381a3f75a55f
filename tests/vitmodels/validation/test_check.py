"""From a tree to a model, or to problems: places, hints, and rules that speak through their fields only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from vitmodels.document.problem import Problem
from vitmodels.document.reader import read
from vitmodels.document.tree import Mapping
from vitmodels.validation.check import check
from vitmodels.validation.rule import RuleError
from vitmodels.validation.terms import Terms

PHRASES = (
    "size: expected 3, did you mean colour, found nothing? colour is red, inner.depth together with name"
)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Inner(Strict):
    depth: int = Field(1, ge=1, le=9)
    width: int = 1

    @model_validator(mode="after")
    def _square(self) -> Inner:
        if self.depth != self.width:
            raise RuleError("depth and width differ", at=("width",), others=(("depth",),))
        return self


def _known(word: str) -> str:
    if word == "phrases":
        raise ValueError(PHRASES)
    if word == "near":
        raise RuleError("no such word", suggestions=("bear", "year"))
    if word == "far":
        raise RuleError("no such word", choices=("bear", "year", "ear"))
    if word == "vague":
        raise RuleError(expected="a clear word", hint="think")
    return word


class Model(Strict):
    name: str = Field(description="A name.", examples=["a"])
    word: Annotated[str, AfterValidator(_known)] = "x"
    size: int = 1
    colour: Literal["red", "green"] = "red"
    inner: Inner = Field(default_factory=Inner)
    free: dict[str, str] = Field(default_factory=dict)

    @field_validator("free")
    @classmethod
    def _no_x(cls, free: dict[str, str]) -> dict[str, str]:
        if "x" in free:
            raise RuleError("x is reserved", at=("x",), of_key=True)
        return free

    @model_validator(mode="after")
    def _fits(self) -> Model:
        if self.size > 100:
            raise ValueError(PHRASES)
        if self.size > 10 and self.colour == "green":
            raise RuleError(
                "green is small", at=("inner", "depth"), others=(("size",), ("colour",)), hint="use red"
            )
        return self


def problems(text: str, terms: Terms | None = None) -> tuple[Problem, ...]:
    tree, unread = read(text, "x.yaml")
    assert isinstance(tree, Mapping) and not unread
    return tuple(dict.fromkeys(check(Model, tree, terms or Terms())[1]))


def messages(text: str) -> list[str]:
    return [problem.headline.removeprefix("x.yaml:") for problem in problems(text)]


def test_a_right_tree_is_a_value() -> None:
    tree, _ = read("name: a\ninner:\nfree:\n", "x.yaml")
    assert isinstance(tree, Mapping)
    assert check(Model, tree, Terms()) == (Model(name="a"), [])


def test_every_mistake_is_found_in_one_go() -> None:
    text = "nane: a\nsize: 3.0\ncolour: blue\ninner: {depth: 2, width: 3, high: 1}\nfree: {x: y, z: 3}\n"
    assert sorted(messages(text)) == [
        "1:1: nane: unknown key",
        "2:7: size: expected a whole number, found 3.0",
        "3:9: colour: expected red or green, found 'blue'",
        "4:26: inner.width: depth and width differ",
        "4:29: inner.high: unknown key",
        "5:17: free.z: expected text, found 3",
        "5:8: free.x: x is reserved",
    ]


def test_a_rule_is_not_held_against_values_that_are_wrong_themselves() -> None:
    assert messages("name: a\ninner: {depth: ten, width: 3}\n") == [
        "2:16: inner.depth: expected a whole number from 1 to 9, found 'ten'"
    ]
    assert messages("name: a\ninner: {deptth: 2, width: 3}\n") == ["2:9: inner.deptth: unknown key"]


@pytest.mark.parametrize(
    ("word", "message", "hint"),
    [
        ("near", "no such word", "did you mean bear or year?"),
        ("far", "no such word", "known are: bear, year, ear"),
        ("vague", "expected a clear word, found 'vague'", "think"),
    ],
)
def test_words_are_made_of_the_fields_of_a_rule(word: str, message: str, hint: str) -> None:
    (problem,) = problems(f"name: a\nword: {word}\n")
    assert (problem.path, problem.message, problem.hint) == ("word", message, hint)
    assert str(problem.place) == "x.yaml:2:7"


def test_a_rule_names_its_values_and_the_first_that_is_written_is_shown() -> None:
    (problem,) = problems("name: a\nsize: 20\ncolour: green\ninner: {}\n")
    assert (problem.path, problem.message, problem.hint) == ("inner.depth", "green is small", "use red")
    assert str(problem.place) == "x.yaml:4:1"  # the section, because its key is not written
    assert (str(problem.related), problem.related_text) == ("x.yaml:2:1", "together with")


def test_no_place_and_no_hint_is_read_out_of_a_sentence() -> None:
    (of_value,) = problems("word: phrases\nname: a\nsize: 3\ncolour: red\ninner: {depth: 1}\n")
    (of_model,) = problems("size: 101\nname: a\ncolour: red\ninner: {depth: 1}\n")
    for problem, path, place in ((of_value, "word", "x.yaml:1:7"), (of_model, "", "x.yaml:1:1")):
        assert problem.message == PHRASES
        assert (problem.path, problem.hint, problem.related) == (path, "", None)
        assert str(problem.place) == place


def test_the_terms_of_a_kind_of_file_are_used() -> None:
    class Words(Terms):
        kind = "a test file"
        synonyms = {"rouge": "red"}  # noqa: RUF012

        def name(self, path: tuple[str | int, ...]) -> str:
            return "/".join(map(str, path))

        def known_elsewhere(self, key: str) -> str:
            return "see there" if key == "there" else ""

        def resembles(self, key: str, below: Sequence[str] = ()) -> str:
            return f"see {key} {list(below)}" if key in ("zzz", "yyy") else ""

    text = "name: a\nthere: 1\nzzz: 1\ncolour: Rouge\ninner: {zzz: 1}\nqqqqq: 1\nyyy: {a: 1, b: 2}\n"
    found = {problem.path: problem.hint for problem in problems(text, Words())}
    assert found == {
        "there": "see there",
        "zzz": "see zzz []",
        "yyy": "see yyy ['a', 'b']",
        "colour": "did you mean 'red'?",
        "inner/zzz": "the keys under 'inner': depth, width",
        "qqqqq": "the keys in a test file: name, word, size, colour, inner, free",
    }
