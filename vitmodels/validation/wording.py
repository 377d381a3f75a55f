"""What a value is, in words, and how it could be written right."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vitmodels.document import tree
from vitmodels.document.scalars import ScalarError, Value, resolve
from vitmodels.document.tree import Node
from vitmodels.suggest import nearest
from vitmodels.validation.schema import TEXT_FORM

_WIDTH = 60
_YES = frozenset(("yes", "on", "y", "1", "true"))
_NO = frozenset(("no", "off", "n", "0", "false"))


def found(node: Node) -> str:
    """`'ten'`, `the text '3'`, `true`, `nothing`, `an empty list`, `a section`."""
    if isinstance(node, tree.Mapping):
        return "a section with 'key: value' lines" if node.pairs else "an empty section"
    if isinstance(node, tree.Sequence):
        count = len(node.items)
        return f"a list of {count} value{'s' if count > 1 else ''}" if count else "an empty list"
    if node.value is None:
        return "nothing"
    if isinstance(node.value, str):
        if not node.value:
            return "an empty text"
        shown = _cut(node.value).replace("\n", "⏎")
        return f"the text '{shown}'" if not isinstance(_unquoted(node), str) else f"'{shown}'"
    return _cut(node.text)


def hint(node: Node, schema: Mapping[str, Any], synonyms: Mapping[str, str]) -> str:
    """What to write instead, as far as that can be guessed; '' when it can't."""
    kind = schema.get("type")
    if "enum" in schema or "const" in schema:
        choices = [str(value) for value in schema.get("enum", [schema.get("const")])]
        return _choice(node, choices, synonyms)
    if kind == "array" and isinstance(node, tree.Scalar) and node.value is not None:
        parts = [part for part in re.split(r"[,\s]+", node.text) if part]
        return f"write [{', '.join(parts)}]"
    if kind == "object" and schema.get("properties"):
        return f"its keys are: {', '.join(schema['properties'])}"
    return _scalar(node, schema) if isinstance(node, tree.Scalar) else ""


def _scalar(node: tree.Scalar, schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if node.value is None:
        return "give a value, or remove the key to use its default"
    if kind == "boolean":
        return _boolean(node)
    if kind in ("integer", "number"):
        return _number(node, kind)
    if kind == "string" and not isinstance(node.value, str):
        return f'put it in quotes: "{node.text}"'
    if schema.get(TEXT_FORM) == "duration" and isinstance(node.value, float) and node.value >= 0:
        return f"add the unit: {node.text}s, {node.text}min …"
    return ""


def _choice(node: Node, values: list[str], synonyms: Mapping[str, str]) -> str:
    text = node.text if isinstance(node, tree.Scalar) else ""
    near = synonyms.get(text.lower(), "")
    near = near if near in values else nearest(text, values)
    return f"did you mean '{near}'?" if near else ""


def _boolean(node: tree.Scalar) -> str:
    word = node.text.strip().lower()
    right = "true" if word in _YES else "false" if word in _NO else ""
    if not right:
        return ""
    if node.quoted and word == right:
        return "remove the quotes"
    return f"write {right}" if word in "01" else f"write {right}; in YAML 1.2 '{node.text}' is only a word"


def _number(node: tree.Scalar, kind: str) -> str:
    value = _unquoted(node)
    if isinstance(node.value, float) and kind == "integer":
        return f"write {int(node.value)}" if node.value.is_integer() else ""
    if not isinstance(node.value, str):
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "remove the quotes"
    return _written_otherwise(node.value.strip(), kind)


def _written_otherwise(text: str, kind: str) -> str:
    """A number with separators, a per cent sign, a decimal comma, a unit, or in words."""
    if re.fullmatch(r"[-+]?\d+(_\d+)+", text) or (
        kind == "integer" and re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+", text)
    ):
        return f"write {re.sub('[_,]', '', text)}"
    if kind == "number" and re.fullmatch(r"\d+(\.\d+)?\s*%", text):
        return f"write {float(text.rstrip('% ')) / 100:g}"
    if kind == "number" and re.fullmatch(r"0,\d+|\d+,\d{1,2}", text):
        return f"write {text.replace(',', '.')}"
    if word := re.fullmatch(r"([-+]?\d+)\s*(?![eE]\b)[A-Za-z]+", text):
        return f"write {word[1]}, without a unit"
    return "write the number in digits" if text.isalpha() else ""


def _unquoted(node: tree.Scalar) -> Value:
    """The value the text would have without its quotes."""
    try:
        return resolve(node.text) if node.text.strip() else node.text
    except ScalarError:
        return node.text


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
