"""A YAML or JSON text to a tree. The only reader of job files, recipes and overrides.

PyYAML cuts the text into events; this module gives them meaning, by the YAML 1.2 core schema
(https://yaml.org/spec/1.2.2/#103-core-schema): `1e-3` is a number, `12:30:00` and `no` are text, `010` is ten.
Duplicate keys are problems, tags other than the plain ones are refused, aliases and merge keys (`<<`) work.
Text that is too large, too deep or grows through its aliases is refused before it costs time or memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from vitmodels.document import syntax
from vitmodels.document.problem import Place, Problem
from vitmodels.document.scalars import ScalarError, joined, resolve
from vitmodels.document.scanner import Loader
from vitmodels.document.source import MAX_BYTES, Source, decode, too_large
from vitmodels.document.tree import KeyValue, Mapping, Node, Scalar, Sequence

MAX_DEPTH = 24
MAX_VALUES = 10_000

_TAG_PREFIX = "tag:yaml.org,2002:"
_SCALAR_TAGS = ("str", "int", "float", "bool", "null")


def read(
    text: str | bytes, filename: str, *, in_file: bool = True, prefix: str = ""
) -> tuple[Node | None, list[Problem]]:
    """What could be read of one document, and every problem; the node is None when nothing could be.

    `prefix` is what stands before the text on its first line (`--set epochs=`): places count it in.
    """
    if isinstance(text, bytes):
        decoded = decode(text, filename, in_file=in_file)
        if isinstance(decoded, Problem):
            return None, [decoded]
        text = decoded
    elif len(text) > MAX_BYTES:
        return None, [too_large(len(text), filename, in_file=in_file)]
    source = Source(text.removeprefix("\ufeff"), filename, in_file, prefix)
    unprintable = source.unprintable()
    return (None, [unprintable]) if unprintable else _Reading(source).result()


def start_of(path: Path) -> bytes:
    """The bytes of a file, but of a huge one only so many that `read` calls it too large. Raises OSError."""
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


class _GiveUp(Exception):
    """Reading can't go on; the problem is recorded already."""


class _Reading:
    """One reading of one text: events to nodes, by recursive descent of bounded depth."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.anchors: dict[str, Node | Place] = {}  # a Place while the anchored node is still being read
        self.loader = Loader(source.scannable())
        self.events: Iterator[yaml.Event] = iter(self.loader.get_event, None)
        self.values = 0

    def result(self) -> tuple[Node | None, list[Problem]]:
        try:
            return self.document(), self.problems
        except _GiveUp:
            pass
        except yaml.YAMLError as error:
            self.problems.append(syntax.translate(error, self.source))
        except (ValueError, OverflowError):  # an escape such as "\UFFFFFFFF" that names no character
            place = self.source.place_of(self.loader.get_mark())
            self.problems.append(Problem(place, "this escape sequence names no character"))
        return None, self.problems

    def give_up(self, place: Place, message: str, hint: str = "") -> _GiveUp:
        self.problems.append(Problem(place, message, hint=hint))
        return _GiveUp()

    # -- structure

    def document(self) -> Node:
        node: Node | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if node is not None:
                    place = self.source.place_of(event.start_mark)
                    raise self.give_up(place, "a second document starts here", "keep one per file")
                node = self.node(next(self.events), 1)
        return Scalar(self.source.place(0, 0), None, "") if node is None else node

    def node(self, event: yaml.Event, depth: int) -> Node:
        place = self.source.place_of(event.start_mark)
        self.values += 1
        if depth > MAX_DEPTH:
            raise self.give_up(place, f"nested more than {MAX_DEPTH} levels deep")
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            return self.alias(str(anchor), place)
        if anchor is not None:
            self.anchors[anchor] = place
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self.scalar(event, place)
        elif isinstance(event, yaml.SequenceStartEvent):
            self.check_tag(event.tag, ("seq",), place)
            node = self.sequence(place, depth)
        else:
            assert isinstance(event, yaml.MappingStartEvent)
            self.check_tag(event.tag, ("map",), place)
            node = self.mapping(place, depth)
        if anchor is not None:
            self.anchors[anchor] = node
        self.check_size(place)
        return node

    def alias(self, name: str, place: Place) -> Node:
        node = self.anchors.get(name)
        if node is None:
            known = ", ".join(f"&{self.source.original(n)}" for n in sorted(self.anchors))
            hint = (
                f"defined before this line: {known}"
                if known
                else "an anchor is defined by writing &name before a value"
            )
            name = self.source.original(name)
            raise self.give_up(place, f"no anchor '&{name}' is defined before this alias", hint)
        if isinstance(node, Place):
            name = self.source.original(name)
            raise self.give_up(place, f"the alias '*{name}' stands inside the value it names")
        self.values += node.size - 1
        self.check_size(place)
        return node

    def check_size(self, place: Place) -> None:
        if self.values > MAX_VALUES:
            hint = "aliases multiply what they name" if self.anchors else "is this the right file?"
            raise self.give_up(place, f"more than {MAX_VALUES:,} values", hint)

    def sequence(self, place: Place, depth: int) -> Sequence:
        items: list[Node] = []
        for event in self.events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self.node(event, depth + 1))
        return Sequence(place, tuple(items), 1 + sum(item.size for item in items))

    def mapping(self, place: Place, depth: int) -> Mapping:
        pairs: dict[str, KeyValue] = {}
        merged: list[KeyValue] = []
        for event in self.events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key_place = self.source.place_of(event.start_mark)
            key = self.node(event, depth + 1)
            value = self.node(next(self.events), depth + 1)
            if not isinstance(key, Scalar):
                message = "a key has to be a word, and this is a list or a mapping"
                self.problems.append(Problem(key_place, message))
            elif key.text == "<<" and not key.quoted:
                merged.extend(self.merge(value))
            elif key.text in pairs:
                self.duplicate(key.text, key_place, pairs[key.text].key_place)
            else:
                pairs[key.text] = KeyValue(key.text, key_place, value)
        for pair in merged:
            pairs.setdefault(pair.key, pair)
        return Mapping(place, tuple(pairs.values()), 1 + sum(1 + pair.value.size for pair in pairs.values()))

    def merge(self, value: Node) -> list[KeyValue]:
        """What `<<: value` brings; earlier mappings of a list win."""
        if isinstance(value, Mapping):
            return list(value.pairs)
        items = value.items if isinstance(value, Sequence) else ()
        found = [pair for item in items if isinstance(item, Mapping) for pair in item.pairs]
        if items and all(isinstance(item, Mapping) for item in items):
            return found
        message = "'<<' merges a mapping or a list of mappings, and this is neither"
        hint = "write <<: *name, where &name marks a mapping"
        self.problems.append(Problem(value.place, message, hint=hint))
        return found

    def duplicate(self, key: str, place: Place, first: Place) -> None:
        message = f"the key '{key}' appears twice in this section"
        hint = "keep one of the two"
        self.problems.append(Problem(place, message, hint=hint, related=first, related_text="first at"))

    # -- scalars and tags

    def scalar(self, event: yaml.ScalarEvent, place: Place) -> Scalar:
        tag = self.check_tag(event.tag, _SCALAR_TAGS, place)
        is_plain, text = event.style is None, joined(self.source.original(event.value))
        try:
            value = resolve(text, plain=is_plain, tag=tag)
        except ScalarError as error:
            self.problems.append(Problem(place, str(error)))
            value, text = None, ""
        return Scalar(place, value, text, quoted=not is_plain)

    def check_tag(self, tag: str | None, allowed: tuple[str, ...], place: Place) -> str:
        """The short name of a tag that is allowed here, '' for none; any other is a problem."""
        if tag is None:
            return ""
        if tag == "!":  # "not resolved": text, or the kind of node it stands before
            return "str" if "str" in allowed else ""
        short = tag.removeprefix(_TAG_PREFIX)
        known = tag.startswith(_TAG_PREFIX)
        if known and short in allowed:
            return short
        shown = self.source.original(f"!!{short}" if known else tag)
        hint = "remove it: a job file holds plain values only"
        self.problems.append(Problem(place, f"the tag {shown} is not allowed here", hint=hint))
        return ""
