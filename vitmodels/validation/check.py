"""A tree of values as a value of a pydantic model, or everything that is wrong with it.

    tree ──plain──▶ data ──pydantic──▶ model
                              │
                       ValidationError ──mistakes──▶ Mistake… ──report──▶ Problem…

pydantic runs the rules over several values of a section only when each value is sound. So wrong values are taken out
of the data and the rest is validated again: a user sees every problem in one go.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeVar, get_origin

from pydantic import BaseModel, ValidationError

from vitmodels.document.problem import Problem
from vitmodels.document.tree import Mapping, Path, plain
from vitmodels.suggest import nearest
from vitmodels.validation.mistakes import Kind, Mistake, mistakes_of
from vitmodels.validation.report import Report
from vitmodels.validation.schema import ModelSchema, schema_of
from vitmodels.validation.terms import Terms

_ROUNDS = 4  # of taking wrong values out and validating the rest
M = TypeVar("M", bound=BaseModel)


def check(model: type[M], tree: Mapping, terms: Terms) -> tuple[M | None, list[Problem]]:
    """The tree as a value of the model, or every problem.

    Types are strict: a quoted "3" is not a number, 3.0 is not a whole number. A section without a value is empty.
    """
    data = plain(tree)
    _fill_sections(model, data)
    try:
        return _validate(model, data), []
    except ValidationError as error:
        search = _Search(model, tree, terms)
        report = Report(search.schema, tree, terms)
        return None, [report.problem(mistake) for mistake in search.run(data, error)]


class _Search:
    """The search for every mistake of one tree."""

    def __init__(self, model: type[BaseModel], tree: Mapping, terms: Terms) -> None:
        self.model = model
        self.tree = tree
        self.terms = terms
        self.schema = schema_of(model)
        self.wrong: list[Path] = []
        self.meant: set[Path] = set()  # keys that unknown ones were probably meant to be

    def run(self, data: object, error: ValidationError) -> list[Mistake]:
        mistakes = self.noted(mistakes_of(error, self.tree, self.schema))
        mistakes = [mistake for mistake in mistakes if not self.follows_from_misspelling(mistake)]
        for _ in range(_ROUNDS):
            count = len(self.wrong)
            for path in self.wrong:
                _take_out(data, path, self.schema)
            mistakes += self.noted(self.broken_rules(data))
            if len(self.wrong) == count:
                break
        return mistakes

    def noted(self, mistakes: Iterable[Mistake]) -> list[Mistake]:
        """The mistakes, with what they say about the data kept for the next round."""
        found = list(mistakes)
        for mistake in found:
            if mistake.kind is not Kind.BROKEN_RULE and mistake.path not in self.wrong:
                self.wrong.append(mistake.path)
            if mistake.kind is Kind.UNKNOWN_KEY:
                self.meant |= self.meant_by(mistake.path)
        return found

    def broken_rules(self, data: object) -> list[Mistake]:
        """Rules that are broken besides the mistakes that are known, and not only because of them."""
        known = [*self.wrong, *self.meant]
        try:
            _validate(self.model, data)
        except ValidationError as error:
            rules = [m for m in mistakes_of(error, self.tree, self.schema) if m.rule is not None]
            return [rule for rule in rules if not any(_within(path, known) for path in rule.concerns)]
        return []

    def meant_by(self, path: Path) -> set[Path]:
        section, key = path[:-1], str(path[-1])
        near = self.terms.called_here(section, key)
        if not near and not self.terms.known_elsewhere(key):
            near = nearest(key, self.schema.keys(section))
        return {(*section, near)} if near else set()

    def follows_from_misspelling(self, mistake: Mistake) -> bool:
        """Whether a key is missing only because it was misspelt, which is a problem of its own."""
        return mistake.kind is Kind.MISSING_KEY and mistake.path in self.meant


def _within(path: Path, known: list[Path]) -> bool:
    """Whether a path is one of those known, or lies below one."""
    return any(path[: len(one)] == one for one in known)


def _validate(model: type[M], data: object) -> M:
    """Through JSON, because pydantic's strict mode takes lists for tuples only there."""
    return model.model_validate_json(json.dumps(data), strict=True)


def _fill_sections(model: type[BaseModel], data: object) -> None:
    """Turn `data:` with nothing below it into an empty section."""
    if not isinstance(data, dict):
        return
    for name, info in model.model_fields.items():
        kind = info.annotation
        section = isinstance(kind, type) and issubclass(kind, BaseModel)
        if name in data and data[name] is None and (section or get_origin(kind) is dict):
            data[name] = {}
        if section and name in data:
            _fill_sections(kind, data[name])  # type: ignore[arg-type]


def _take_out(data: Any, path: Path, schema: ModelSchema) -> None:
    """Remove a wrong value; where one is required, put the field's example in its place."""
    holder = data
    for part in path[:-1]:
        try:
            holder = holder[part]
        except (KeyError, IndexError, TypeError):
            return
    if not path or not isinstance(holder, dict):
        if path:
            _take_out(data, path[:-1], schema)  # an item of a list takes the list with it
        return
    holder.pop(path[-1], None)
    section = schema.at(path[:-1]) or {}
    examples = (schema.at(path) or {}).get("examples", ())
    if path[-1] in section.get("required", ()) and examples:
        holder[path[-1]] = examples[0]
