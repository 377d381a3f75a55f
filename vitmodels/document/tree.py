"""A document as a tree: every key and value remembers the line and column it was written at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vitmodels.document.problem import Place
from vitmodels.document.scalars import Value

Path = tuple[str | int, ...]
"""The way from the root of a tree to a value: keys of mappings, indices of sequences."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value. `text` is what was written, `quoted` says that it is text because of its quotes."""

    place: Place
    value: Value
    text: str
    quoted: bool = False
    size: int = 1


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list. `size` counts the values in it, aliases expanded."""

    place: Place
    items: tuple[Node, ...]
    size: int = 1


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One `key: value` of a mapping. Keys are always text, as written."""

    key: str
    key_place: Place
    value: Node


@dataclass(frozen=True, slots=True)
class Mapping:
    """A section. Keys are unique and keep the order of the text, merged ones (`<<`) last."""

    place: Place
    pairs: tuple[KeyValue, ...]
    size: int = 1

    def get(self, key: str) -> Node | None:
        pair = self.pair(key)
        return None if pair is None else pair.value

    def pair(self, key: str) -> KeyValue | None:
        return next((pair for pair in self.pairs if pair.key == key), None)


Node = Scalar | Sequence | Mapping


def plain(node: Node) -> object:
    """The tree as dicts, lists and scalars."""
    if isinstance(node, Mapping):
        return {pair.key: plain(pair.value) for pair in node.pairs}
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return node.value


_WORDS = {"None": "null", "True": "true", "False": "false", "inf": ".inf", "-inf": "-.inf", "nan": ".nan"}


def node_of(value: object, place: Place) -> Node:
    """The tree of plain values, all at one place. Raises TypeError for a value that YAML has no form for."""
    if isinstance(value, dict):
        pairs = tuple(KeyValue(str(key), place, node_of(item, place)) for key, item in value.items())
        return Mapping(place, pairs, 1 + sum(1 + pair.value.size for pair in pairs))
    if isinstance(value, list | tuple):
        items = tuple(node_of(item, place) for item in value)
        return Sequence(place, items, 1 + sum(item.size for item in items))
    if value is None or isinstance(value, bool | int | float | str):
        text = value if isinstance(value, str) else _WORDS.get(repr(value), repr(value))
        return Scalar(place, value, text, quoted=isinstance(value, str))
    raise TypeError(f"{type(value).__name__} has no form in YAML")


def find(tree: Node, path: Path) -> Node | None:
    """The node at a path."""
    node: Node | None = tree
    for part in path:
        if isinstance(node, Mapping):
            node = node.get(str(part))
        elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
        else:
            return None
    return node


def key_place(tree: Mapping, path: Path) -> Place:
    """Where the key of a path stands; list items and the root have only their value's place."""
    holder = find(tree, path[:-1]) if path else None
    pair = holder.pair(str(path[-1])) if isinstance(holder, Mapping) else None
    return pair.key_place if pair else (find(tree, path) or tree).place


def nearest_place(tree: Mapping, path: Path) -> Place:
    """The place of a value, or of the key of the nearest section around it that the tree holds."""
    node = find(tree, path)
    if isinstance(node, Scalar | Sequence):
        return node.place
    while path and find(tree, path) is None:
        path = path[:-1]
    return key_place(tree, path)


def dotted(path: Path) -> str:
    """`model.set.beta[1]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def overlay(layers: Iterable[Mapping]) -> Mapping:
    """One mapping of several, later ones on top: sections key by key, any other value as a whole."""
    first, *others = layers
    for above in others:
        first = _over(first, above)
    return first


def _over(below: Mapping, above: Mapping) -> Mapping:
    pairs = {pair.key: pair for pair in below.pairs}
    for pair in above.pairs:
        old = pairs.get(pair.key)
        if old and isinstance(old.value, Mapping) and isinstance(pair.value, Mapping):
            pairs[pair.key] = KeyValue(pair.key, old.key_place, _over(old.value, pair.value))
        else:
            pairs[pair.key] = pair
    return Mapping(below.place, tuple(pairs.values()), below.size + above.size)


def leaves(tree: Node, path: tuple[str, ...] = ()) -> Iterable[tuple[tuple[str, ...], Node]]:
    """Every value that is not a section, with its path; lists count as one value."""
    if isinstance(tree, Mapping) and (tree.pairs or not path):
        for pair in tree.pairs:
            yield from leaves(pair.value, (*path, pair.key))
    else:
        yield path, tree
