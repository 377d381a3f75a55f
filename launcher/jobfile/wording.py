"""What a value is, in words, and how it could be written right."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from launcher.jobfile import yamltree
from launcher.jobfile.suggest import nearest
from launcher.jobfile.yamlscalars import ScalarError, Value, resolve
from launcher.jobfile.yamltree import Node

_WIDTH = 60
_SYNONYMS = {
    "ascend910a": "ascend910",
    "ascend910c": "atlas-a3",
    "910": "ascend910",
    "910b": "ascend910b",
    "910c": "atlas-a3",
    "a2": "ascend910b",
    "a3": "atlas-a3",
    "ascend": "ascend910",
    "npu": "ascend910",
}  # what chips are called elsewhere
_YES = frozenset(("yes", "on", "y", "1", "true"))
_NO = frozenset(("no", "off", "n", "0", "false"))


def found(node: Node) -> str:
    """`'ten'`, `the text '3'`, `true`, `nothing`, `an empty list`, `a section`."""
    if isinstance(node, yamltree.Mapping):
        return "a section with 'key: value' lines" if node.entries else "an empty section"
    if isinstance(node, yamltree.Sequence):
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


def hint(node: Node, schema: Mapping[str, Any], expected: str) -> str:
    """What to write instead, as far as that can be guessed; '' when it can't."""
    kind = schema.get("type")
    if "enum" in schema or "const" in schema:
        return _choice(node, [str(value) for value in schema.get("enum", [schema.get("const")])])
    if kind == "array" and isinstance(node, yamltree.Scalar) and node.value is not None:
        parts = [part for part in re.split(r"[,\s]+", node.text) if part]
        return f"write [{', '.join(parts)}]"
    if kind == "object" and schema.get("properties"):
        return f"its keys are: {', '.join(schema['properties'])}"
    return _scalar(node, kind, expected) if isinstance(node, yamltree.Scalar) else ""


def _scalar(node: yamltree.Scalar, kind: Any, expected: str) -> str:
    if node.value is None:
        return "give a value, or remove the key to use its default"
    if kind == "boolean":
        return _boolean(node)
    if kind in ("integer", "number"):
        return _number(node, kind)
    if kind == "string" and not isinstance(node.value, str):
        return f'put it in quotes: "{node.text}"'
    if "duration" in expected and isinstance(node.value, float) and node.value >= 0:
        return f"add the unit: {node.text}s, {node.text}min …"
    return ""


def _choice(node: Node, values: list[str]) -> str:
    text = node.text if isinstance(node, yamltree.Scalar) else ""
    near = _SYNONYMS.get(text.lower(), "")
    near = near if near in values else nearest(text, values)
    return f"did you mean '{near}'?" if near else ""


def _boolean(node: yamltree.Scalar) -> str:
    word = node.text.strip().lower()
    right = "true" if word in _YES else "false" if word in _NO else ""
    if not right:
        return ""
    if node.quoted and word == right:
        return "remove the quotes"
    return f"write {right}" if word in "01" else f"write {right}; in YAML 1.2 '{node.text}' is only a word"


def _number(node: yamltree.Scalar, kind: str) -> str:
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


def _unquoted(node: yamltree.Scalar) -> Value:
    """The value the text would have without its quotes."""
    try:
        return resolve(node.text) if node.text.strip() else node.text
    except ScalarError:
        return node.text


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
