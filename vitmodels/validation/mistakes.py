"""pydantic's errors as values of ours: what kind of mistake, which value, which rule. Their sentences are not read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from vitmodels.document.tree import Mapping, Path, Scalar, find
from vitmodels.validation.rule import RuleError
from vitmodels.validation.schema import ModelSchema


class Kind(Enum):
    UNKNOWN_KEY = auto()
    MISSING_KEY = auto()
    WRONG_VALUE = auto()
    BROKEN_RULE = auto()  # of a whole section: it says itself which values it is about


@dataclass(frozen=True)
class Mistake:
    """`path` is the key or value; with a broken rule, the section. `rule` is what a validator raised."""

    kind: Kind
    path: Path
    rule: RuleError | None = None
    not_finite: bool = False

    @property
    def concerns(self) -> tuple[Path, ...]:
        """The values that have to change, the one at fault first."""
        if self.kind is not Kind.BROKEN_RULE or self.rule is None:
            return (self.path,)
        return tuple((*self.path, *way) for way in (self.rule.at, *self.rule.others))


def mistakes_of(error: ValidationError, tree: Mapping, schema: ModelSchema) -> Iterator[Mistake]:
    """One for each place, unknown keys first; the branches of a union count as one."""
    details = error.errors(include_url=False, include_input=False)
    keys: set[tuple[Path, bool]] = set()
    for one in sorted(details, key=lambda one: one["type"] != "extra_forbidden"):
        path = _path(one, tree, schema)
        place = (path, one["type"] == "extra_forbidden")
        if place not in keys:
            keys.add(place)
            yield _mistake(one, path, tree, schema)


def _mistake(details: ErrorDetails, path: Path, tree: Mapping, schema: ModelSchema) -> Mistake:
    kind, node = details["type"], find(tree, path)
    if kind == "value_error":
        rule = _rule(details["ctx"]["error"])
        of_section = not isinstance(node, Scalar) and (node is None or schema.is_section(path))
        return Mistake(Kind.BROKEN_RULE if of_section else Kind.WRONG_VALUE, path, rule)
    if kind == "extra_forbidden":
        return Mistake(Kind.UNKNOWN_KEY, path)
    if kind == "missing" and node is None:
        return Mistake(Kind.MISSING_KEY, path)
    return Mistake(Kind.WRONG_VALUE, path, not_finite=kind == "finite_number")


def _rule(error: Exception) -> RuleError:
    """What a validator raised. A plain ValueError has a message and nothing else."""
    return error if isinstance(error, RuleError) else RuleError(str(error))


def _path(details: ErrorDetails, tree: Mapping, schema: ModelSchema) -> Path:
    """The path in the tree of pydantic's location, whose union branches have parts of their own."""
    path: Path = ()
    for part in details["loc"]:
        node = find(tree, path)
        known = isinstance(node, Mapping) and isinstance(part, str) and part in schema.keys(path)
        if known or find(tree, (*path, part)) is not None:
            path = (*path, part)
    return path
