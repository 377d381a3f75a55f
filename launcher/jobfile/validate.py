"""What a pydantic model has against a tree of values, as problems with places.

pydantic's own sentences are never shown. What was expected is worded from the model's JSON Schema, what was found
from the tree, and a sentence of one of our validators is used as it is. A validator may begin its sentence with the
dotted name of the value it is about (`model.config: expected …`); other values it names are shown as related places.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from launcher.jobfile import wording as hints
from launcher.jobfile import yamltree
from launcher.jobfile.problems import Place, Problem
from launcher.jobfile.schema import ModelSchema, schema_of
from launcher.jobfile.suggest import nearest
from launcher.jobfile.yamltree import Node

Path = tuple[str | int, ...]
_TOO_MANY = 20
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Voice:
    """How values of one tree are named in messages."""

    name: Callable[[Path, Place], str] = lambda path, _place: dotted(path)
    elsewhere: Callable[[str], str] = lambda _key: ""  # a hint on a key that is known elsewhere
    similar: Callable[[str], str] = lambda _key: ""  # a hint on a key that resembles nothing in its section
    help: str = ""  # in place of a list of more keys than can be taken in
    text: str = "this file"


def check(model: type[M], tree: yamltree.Mapping, voice: Voice) -> tuple[M | None, list[Problem]]:
    """The tree as a value of the model, or everything that is wrong with it.

    Types are strict: a quoted "3" is not a number, 3.0 is not a whole number. A section without a value is empty.
    """
    data = yamltree.plain(tree)
    _fill_sections(model, data)
    try:
        return _validate(model, data), []
    except ValidationError as error:
        reporter = _Reporter(schema_of(model), tree, voice)
        return None, reporter.all(model, data, error)


def dotted(path: Path) -> str:
    """`model.set.beta[1]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def find(tree: Node, path: Path) -> Node | None:
    """The node at a path."""
    node: Node | None = tree
    for part in path:
        if isinstance(node, yamltree.Mapping):
            node = node.get(str(part))
        elif isinstance(node, yamltree.Sequence) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
        else:
            return None
    return node


def conflict(tree: yamltree.Mapping, message: str, voice: Voice, section: Path = ()) -> Problem:
    """A sentence about several values as a problem at the first one that the tree holds, the second shown as related."""
    head, colon, rest = message.partition(": ")
    named: list[Path] = []
    path: Path = ()
    if colon and re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", head):
        path, message = (*section, *head.split(".")), rest
        named.append(path)
    quoted = re.search(r"'([^']+)'", message)
    if quoted and not path and find(tree, (*section, quoted[1])) is not None:
        path = (*section, quoted[1])  # a key of a free mapping
        named.append(path)
    named += [p for p in _mentions(tree, section, message) if p not in named]
    held = [p for p in named if find(tree, p) is not None]
    path = path or (held[0] if held else section)
    place = _key_place(tree, path) if quoted and quoted[1] in path else _nearest_place(tree, path)
    other = next((p for p in held if p != path), None)
    related = _key_place(tree, other) if other else None
    related = None if related == place else related
    return Problem.at(
        place, message, path=voice.name(path, place), related=related, related_text="together with"
    )


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


@dataclass
class _Reporter:
    """Errors of one validation to problems."""

    schema: ModelSchema
    tree: yamltree.Mapping
    voice: Voice
    wrong: set[Path] = field(default_factory=set)
    misspelt: set[Path] = field(default_factory=set)  # what unknown keys were probably meant to be

    def all(self, model: type[BaseModel], data: Any, error: ValidationError) -> list[Problem]:
        """Every problem. Rules over several values only run on a sound section, so wrong values are taken out for them."""
        details = sorted(self.distinct(error), key=lambda d: d["type"] != "extra_forbidden")
        problems = [self.problem(one) for one in details if not self.follows(one)]
        for _ in range(4):
            for path in self.wrong:
                _take_out(data, path, self.schema)
            before = len(self.wrong)
            try:
                _validate(model, data)
            except ValidationError as second:
                fresh = [d for d in self.distinct(second) if d["type"] == "value_error"]
                told = [self.problem(details) for details in fresh]
                problems += [p for p in told if p.path and not self.about_wrong(p)]
            if len(self.wrong) == before:
                break
        return problems

    def distinct(self, error: ValidationError) -> Iterator[ErrorDetails]:
        """One error for each place; the branches of a union count as one."""
        seen: set[tuple[Path, bool]] = set()
        for details in error.errors(include_url=False, include_input=False):
            path = self.path(details)
            key = (path, details["type"] == "extra_forbidden")
            if key not in seen and not (details["type"] != "value_error" and path in self.wrong):
                seen.add(key)
                yield details

    def follows(self, details: ErrorDetails) -> bool:
        """Whether a key is missing because it was misspelt, which has been said."""
        return details["type"] == "missing" and self.path(details) in self.misspelt

    def about_wrong(self, problem: Problem) -> bool:
        """Whether a problem of the second pass only follows from a value that was taken out."""
        names = {dotted(path) for path in self.wrong | self.misspelt}
        own = any(f"{problem.path}.".startswith(f"{name}.") for name in names)
        return own or any(re.search(rf"\b{re.escape(name)}\b", problem.message) for name in names)

    def path(self, details: ErrorDetails) -> Path:
        """The path in the tree of pydantic's location, whose union branches have parts of their own."""
        path: Path = ()
        for part in details["loc"]:
            node = find(self.tree, path)
            known = isinstance(node, yamltree.Mapping) and isinstance(part, str)
            if find(self.tree, (*path, part)) is not None or (known and part in self.schema.keys(path)):
                path = (*path, part)
        return path

    def problem(self, details: ErrorDetails) -> Problem:
        path, kind = self.path(details), details["type"]
        if kind == "value_error" and not isinstance(find(self.tree, path), yamltree.Scalar):
            node = find(self.tree, path)
            if node is None or self.schema.is_section(path):
                return self.rule(path, details)
        self.wrong.add(path)
        if kind == "extra_forbidden":
            return self.unknown(path)
        if kind == "missing" and find(self.tree, path) is None:
            return self.missing(path)
        return self.value(path, details)

    def rule(self, path: Path, details: ErrorDetails) -> Problem:
        """A sentence of a validator about a whole section."""
        message, hint = _sentence(details)
        problem = conflict(self.tree, message, self.voice, path)
        return Problem.at(
            problem.place,
            problem.message,
            path=problem.path,
            hint=hint,
            related=problem.related,
            related_text=problem.related_text,
        )

    def unknown(self, path: Path) -> Problem:
        section, key = path[:-1], str(path[-1])
        place = _key_place(self.tree, path)
        valid = self.schema.keys(section)
        near, hint = nearest(key, valid), self.voice.elsewhere(key)
        if near and not hint:
            self.misspelt.add((*section, near))
            hint = f"did you mean '{near}'?"
        if not hint:
            hint = self.voice.similar(key) if not section else ""
        if not hint and len(valid) > _TOO_MANY:
            hint = self.voice.help
        if not hint:
            where = f"under '{dotted(section)}'" if section else f"in {self.voice.text}"
            hint = f"the keys {where}: {', '.join(valid)}"
        return Problem.at(place, "unknown key", path=self.voice.name(path, place), hint=hint)

    def missing(self, path: Path) -> Problem:
        place = _nearest_place(self.tree, path)
        schema = self.schema.at(path) or {}
        examples = schema.get("examples", ())
        parts = [str(schema.get("description", ""))]
        parts += [f"For example {path[-1]}: {json.dumps(examples[0]).strip(chr(34))}"] if examples else []
        hint = " ".join(part for part in parts if part)
        return Problem.at(place, "this key is missing", path=self.voice.name(path, place), hint=hint)

    def value(self, path: Path, details: ErrorDetails) -> Problem:
        node = find(self.tree, path) or self.tree
        found = hints.found(node)
        if details["type"] == "value_error":
            message, hint = _sentence(details)
            if message.startswith("expected") and "found" not in message:
                message = f"{message}, found {found}"
        else:
            schema = self.schema.at(path) or {}
            expected = self.schema.words(schema)
            if details["type"] == "finite_number":
                expected = expected.replace("a number", "a finite number")
            message = f"expected {expected or 'another value'}, found {found}"
            hint = hints.hint(node, self.schema.resolve(schema), expected)
        return Problem.at(node.place, message, path=self.voice.name(path, node.place), hint=hint)


def _sentence(details: ErrorDetails) -> tuple[str, str]:
    """The sentence and the hint of an exception that a validator raised."""
    error = details.get("ctx", {}).get("error")
    what, hint = getattr(error, "what", str(error)), getattr(error, "hint", "")
    guess = re.fullmatch(r"(.*), did you mean (.*)\?", f"{what}, {hint}" if hint else what)
    if guess is None:
        return what, hint
    many = guess[2].count(",") > 2
    return guess[1], f"known are: {guess[2]}" if many else f"did you mean {guess[2].replace(', ', ' or ')}?"


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


def _key_place(tree: yamltree.Mapping, path: Path) -> Place:
    """Where the key of a path stands; list items and the root have only their value's place."""
    holder = find(tree, path[:-1]) if path else None
    entry = holder.entry(str(path[-1])) if isinstance(holder, yamltree.Mapping) else None
    return entry.key_place if entry else (find(tree, path) or tree).place


def _nearest_place(tree: yamltree.Mapping, path: Path) -> Place:
    """The place of a value, or of the key of the nearest section around it that the tree holds."""
    node = find(tree, path)
    if isinstance(node, yamltree.Scalar | yamltree.Sequence):
        return node.place
    while path and find(tree, path) is None:
        path = path[:-1]
    return _key_place(tree, path)


def _mentions(tree: yamltree.Mapping, section: Path, message: str) -> Iterator[Path]:
    """Values that a sentence names: by a name that is no everyday word (dotted, long, with `_`) or is followed by its value."""
    for match in re.finditer(r"[a-z_]+(?:\.[a-z_]+)*", message):
        word = match[0]
        for start in (section, ()):
            path = (*start, *word.split("."))
            node = find(tree, path)
            if node is None:
                continue
            text = node.text if isinstance(node, yamltree.Scalar) else None
            followed = text and re.match(rf"\s+(?:is\s+)?['\"]?{re.escape(text)}\b", message[match.end() :])
            long_enough = start == section and len(word) > 5  # no everyday word
            if "." in word or "_" in word or followed or (long_enough and text):
                yield path
                break
