"""Mistakes to problems: the place of each, and the words, which are made here and nowhere else.

What was expected is worded from the model's JSON Schema or from the fields of a rule, what was found from the tree.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from vitmodels.document.problem import Place, Problem
from vitmodels.document.tree import Mapping, Node, Path, Scalar, dotted, find, key_place, nearest_place
from vitmodels.suggest import listing, nearest
from vitmodels.validation import wording
from vitmodels.validation.mistakes import Kind, Mistake
from vitmodels.validation.rule import RuleError
from vitmodels.validation.schema import ModelSchema
from vitmodels.validation.terms import Terms

_MANY_KEYS = 20  # are not listed in a message


@dataclass(frozen=True)
class Report:
    """Problems of one tree, in the terms of its kind of file."""

    schema: ModelSchema
    tree: Mapping
    terms: Terms

    def problem(self, mistake: Mistake) -> Problem:
        if mistake.kind is Kind.UNKNOWN_KEY:
            return self.unknown_key(mistake.path)
        if mistake.kind is Kind.MISSING_KEY:
            return self.missing_key(mistake.path)
        if mistake.rule is None:
            return self.wrong_value(mistake)
        return rule_problem(mistake.rule, self.tree, self.terms, mistake.path)

    def unknown_key(self, path: Path) -> Problem:
        hint = self.unknown_key_hint(path[:-1], str(path[-1]))
        return Problem(key_place(self.tree, path), "unknown key", self.terms.name(path), hint)

    def unknown_key_hint(self, section: Path, key: str) -> str:
        """The most helpful of: what was meant here, where it belongs, what it resembles, which keys there are."""
        if ours := self.terms.called_here(section, key):
            return f"did you mean '{ours}'?"
        if hint := self.terms.known_elsewhere(key):
            return hint
        valid = self.schema.keys(section)
        if near := nearest(key, valid):
            return f"did you mean '{near}'?"
        if not section and (hint := self.terms.resembles(key, self.keys_below((*section, key)))):
            return hint
        if len(valid) > _MANY_KEYS and self.terms.all_keys:
            return f"{self.terms.all_keys} explains all keys"
        where = f"under '{dotted(section)}'" if section else f"in {self.terms.kind}"
        return f"the keys {where}: {', '.join(valid)}"

    def keys_below(self, path: Path) -> tuple[str, ...]:
        node = find(self.tree, path)
        return tuple(pair.key for pair in node.pairs) if isinstance(node, Mapping) else ()

    def missing_key(self, path: Path) -> Problem:
        schema = self.schema.at(path) or {}
        examples = schema.get("examples", ())
        parts = [str(schema.get("description", ""))]
        parts += [f"For example {path[-1]}: {json.dumps(examples[0]).strip(chr(34))}"] if examples else []
        hint = " ".join(part for part in parts if part)
        return Problem(nearest_place(self.tree, path), "this key is missing", self.terms.name(path), hint)

    def wrong_value(self, mistake: Mistake) -> Problem:
        node = find(self.tree, mistake.path) or self.tree
        schema = self.schema.resolve(self.schema.at(mistake.path) or {})
        expected = self.schema.words(schema) or "another value"
        if mistake.not_finite:
            expected = expected.replace("a number", "a finite number")
        message = f"expected {expected}, found {wording.found(node)}"
        hint = wording.hint(node, schema, self.terms.synonyms)
        return Problem(node.place, message, self.terms.name(mistake.path), hint)


def rule_problem(rule: RuleError, tree: Mapping, terms: Terms, section: Path = ()) -> Problem:
    """A broken rule at the value that breaks it, with the next one that it concerns as related.

    `section` is the section or value whose validator raised the rule.
    """
    path = (*section, *rule.at)
    place = key_place(tree, path) if rule.of_key else nearest_place(tree, path)
    related = _related_place(rule, tree, section, place)
    together = "together with" if related else "see also"
    return Problem(place, _sentence(rule, find(tree, path)), terms.name(path), _hint(rule), related, together)


def _related_place(rule: RuleError, tree: Mapping, section: Path, own: Place) -> Place | None:
    """The key of the first of the rule's other values that the tree holds."""
    for way in rule.others:
        path = (*section, *way)
        node = find(tree, path)
        if node is not None and not (isinstance(node, Scalar) and node.value is None):
            place = key_place(tree, path)
            return None if place == own else place
    return None


def _sentence(rule: RuleError, node: Node | None) -> str:
    if rule.message:
        return rule.message
    found = rule.found or ("none" if node is None else wording.found(node))
    return f"expected {rule.expected}, found {found}"


def _hint(rule: RuleError) -> str:
    if rule.suggestions:
        return f"did you mean {listing(rule.suggestions)}?"
    if rule.choices:
        return f"known are: {', '.join(rule.choices)}"
    return rule.hint
