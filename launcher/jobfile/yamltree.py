"""YAML text to a tree that remembers the line and column of every key and value.

PyYAML cuts the text into events; this module gives them meaning, by the YAML 1.2 core schema
(https://yaml.org/spec/1.2.2/#103-core-schema): `1e-3` is a number, `12:30:00` and `no` are text, `010` is ten.
Duplicate keys are problems, tags other than the plain ones are refused, aliases and merge keys (`<<`) work.
Text that is too large, too deep or grows through its aliases is refused before it costs time or memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launcher.jobfile.problems import JobFileError, Place, Problem
from launcher.jobfile.yamlscalars import ScalarError, Value, joined, resolve

if TYPE_CHECKING:
    import yaml

MAX_BYTES = 256 * 1024
MAX_DEPTH = 24
MAX_VALUES = 10_000

_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # what PyYAML counts as a line


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
class Entry:
    """One `key: value` of a mapping. Keys are always text, as written."""

    key: str
    key_place: Place
    value: Node


@dataclass(frozen=True, slots=True)
class Mapping:
    """A section. Keys are unique; entries keep the order of the text, merged ones (`<<`) last."""

    place: Place
    entries: tuple[Entry, ...]
    size: int = 1

    def get(self, key: str) -> Node | None:
        entry = self.entry(key)
        return None if entry is None else entry.value

    def entry(self, key: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.key == key), None)


Node = Scalar | Sequence | Mapping


def plain(node: Node) -> object:
    """The tree as dicts, lists and scalars."""
    if isinstance(node, Mapping):
        return {entry.key: plain(entry.value) for entry in node.entries}
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return node.value


def load(text: str | bytes, filename: str) -> Node:
    """The tree of one document. Raises JobFileError with every problem that was found."""
    node, problems = compose(text, filename)
    if problems or node is None:
        raise JobFileError(problems)
    return node


def compose(
    text: str | bytes, filename: str, *, in_file: bool = True, prefix: str = ""
) -> tuple[Node | None, list[Problem]]:
    """Like `load`, but returns what could be read together with the problems; None when nothing could be.

    `prefix` is what stands before the text on its first line (`--set epochs=`): places count it in.
    """
    if isinstance(text, bytes):
        if len(text) > MAX_BYTES:
            return None, [_too_large(len(text), filename, in_file)]
        data = text
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            return None, [_not_utf8(data, error, filename, in_file)]
    elif len(text) > MAX_BYTES:
        return None, [_too_large(len(text), filename, in_file)]
    return _Composer(text.removeprefix("\ufeff"), filename, in_file, prefix).run()


def _too_large(size: int, filename: str, in_file: bool) -> Problem:
    message = f"too large: {size:,} bytes, and {MAX_BYTES:,} is the most that is read"
    hint = "a job file is usually under 100 lines; is this the right file?"
    return Problem.at(Place(filename, in_file=in_file), message, hint=hint)


def _not_utf8(data: bytes, error: UnicodeDecodeError, filename: str, in_file: bool) -> Problem:
    before = data[: error.start].decode("utf-8", "replace")
    lines = _LINE_BREAK.split(before)
    source_line = lines[-1] + "\N{REPLACEMENT CHARACTER}"
    place = Place(filename, len(lines), len(lines[-1]) + 1, source_line, in_file)
    if b"\0" in data:
        hint = "this is not a YAML text, or it was saved as UTF-16; save it as UTF-8"
    else:
        hint = "save the file as UTF-8"
    return Problem.at(place, f"the file is not UTF-8: byte 0x{data[error.start]:02x}", hint=hint)


class _GiveUp(Exception):
    """Reading can't go on; the problem is recorded already."""


class _Composer:
    """Events to nodes, by recursive descent of bounded depth."""

    def __init__(self, text: str, filename: str, in_file: bool, prefix: str) -> None:
        self.text = text
        self.prefix = prefix
        self.filename = filename
        self.in_file = in_file
        self.lines = _LINE_BREAK.split(text)
        self.problems: list[Problem] = []
        self.anchors: dict[str, Node | Place] = {}  # a Place while the anchored node is still being read
        self.events: Iterator[yaml.Event] = iter(())
        self.values = 0

    def run(self) -> tuple[Node | None, list[Problem]]:
        import yaml

        from launcher.jobfile import yamlsyntax

        unfit = yaml.reader.Reader.NON_PRINTABLE.search(self.text)
        if unfit:
            before = _LINE_BREAK.split(self.text[: unfit.start()])
            place = self.point(len(before) - 1, len(before[-1]))
            what = f"the text holds the unprintable character U+{ord(unfit[0]):04X}"
            return None, [Problem.at(place, what, hint="delete it")]
        loader = yaml.SafeLoader(self.text)
        self.events = iter(loader.get_event, None)
        try:
            return self.document(), self.problems
        except _GiveUp:
            pass
        except yaml.YAMLError as error:
            self.problems.append(yamlsyntax.translate(error, self.point))
        except (ValueError, OverflowError):  # an escape such as "\UFFFFFFFF" that names no character
            place = self.place(loader.get_mark())
            self.problems.append(Problem.at(place, "this escape sequence names no character"))
        return None, self.problems

    # -- places

    def point(self, line: int, column: int) -> Place:
        """A place from PyYAML's numbers, which count from 0. The end of the file is the end of its last line."""
        last = len(self.lines) - 1
        while last and not self.lines[last].strip():
            last -= 1
        if line > last:
            line, column = last, len(self.lines[last].rstrip())
        source_line = self.lines[line]
        if line == 0:
            column, source_line = column + len(self.prefix), self.prefix + source_line
        return Place(self.filename, line + 1, column + 1, source_line, self.in_file)

    def place(self, mark: Any) -> Place:
        return self.point(mark.line, mark.column)

    def give_up(self, place: Place, message: str, hint: str = "") -> _GiveUp:
        self.problems.append(Problem.at(place, message, hint=hint))
        return _GiveUp()

    # -- structure

    def document(self) -> Node | None:
        import yaml

        node: Node | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if node is not None:
                    raise self.give_up(
                        self.place(event.start_mark), "a second document starts here", "keep one per file"
                    )
                node = self.node(next(self.events), 1)
        if node is None:
            node = Scalar(self.point(0, 0), None, "")
        return node

    def node(self, event: yaml.Event, depth: int) -> Node:
        import yaml

        place = self.place(event.start_mark)
        self.values += 1
        if depth > MAX_DEPTH:
            raise self.give_up(place, f"nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, yaml.AliasEvent):
            return self.alias(str(event.anchor), place)
        anchor = getattr(event, "anchor", None)
        if anchor is not None:
            self.anchors[anchor] = place
        if isinstance(event, yaml.ScalarEvent):
            node: Node = self.scalar(event, place)
        elif isinstance(event, yaml.SequenceStartEvent):
            self.check_tag(event.tag, ("seq",), place)
            node = self.sequence(place, depth)
        else:
            assert isinstance(event, yaml.MappingStartEvent)
            self.check_tag(event.tag, ("map",), place)
            node = self.mapping(place, depth)
        if anchor is not None:
            self.anchors[anchor] = node
        self.check_size(self.values, place)
        return node

    def alias(self, name: str, place: Place) -> Node:
        node = self.anchors.get(name)
        if node is None:
            known = ", ".join(f"&{n}" for n in sorted(self.anchors))
            hint = (
                f"defined before this line: {known}"
                if known
                else "an anchor is defined by writing &name before a value"
            )
            raise self.give_up(place, f"no anchor '&{name}' is defined before this alias", hint)
        if isinstance(node, Place):
            raise self.give_up(place, f"the alias '*{name}' stands inside the value it names")
        self.values += node.size - 1
        self.check_size(self.values, place)
        return node

    def check_size(self, size: int, place: Place) -> None:
        if size > MAX_VALUES:
            hint = "aliases multiply what they name" if self.anchors else "is this the right file?"
            raise self.give_up(place, f"more than {MAX_VALUES:,} values", hint)

    def sequence(self, place: Place, depth: int) -> Sequence:
        import yaml

        items: list[Node] = []
        for event in self.events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self.node(event, depth + 1))
        return Sequence(place, tuple(items), 1 + sum(item.size for item in items))

    def mapping(self, place: Place, depth: int) -> Mapping:
        import yaml

        entries: dict[str, Entry] = {}
        merged: list[Entry] = []
        for event in self.events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key_place = self.place(event.start_mark)
            key = self.node(event, depth + 1)
            value = self.node(next(self.events), depth + 1)
            if not isinstance(key, Scalar):
                self.problems.append(
                    Problem.at(key_place, "a key has to be a word, and this is a list or a mapping")
                )
            elif key.text == "<<" and not key.quoted:
                merged.extend(self.merge(value))
            elif key.text in entries:
                self.duplicate(key.text, key_place, entries[key.text].key_place)
            else:
                entries[key.text] = Entry(key.text, key_place, value)
        for entry in merged:
            entries.setdefault(entry.key, entry)
        return Mapping(place, tuple(entries.values()), 1 + sum(1 + e.value.size for e in entries.values()))

    def merge(self, value: Node) -> list[Entry]:
        """The entries that `<<: value` brings; earlier mappings of a list win."""
        if isinstance(value, Mapping):
            return list(value.entries)
        items = value.items if isinstance(value, Sequence) else ()
        found = [entry for item in items if isinstance(item, Mapping) for entry in item.entries]
        if items and all(isinstance(item, Mapping) for item in items):
            return found
        message = "'<<' merges a mapping or a list of mappings, and this is neither"
        self.problems.append(
            Problem.at(value.place, message, hint="write <<: *name, where &name marks a mapping")
        )
        return found

    def duplicate(self, key: str, place: Place, first: Place) -> None:
        self.problems.append(
            Problem.at(
                place,
                f"the key '{key}' appears twice in this section",
                related=first,
                related_text="first at",
                hint="keep one of the two",
            )
        )

    # -- scalars

    def scalar(self, event: yaml.ScalarEvent, place: Place) -> Scalar:
        tag = self.check_tag(event.tag, ("str", "int", "float", "bool", "null"), place)
        is_plain, text = event.style is None, joined(event.value)
        try:
            value = resolve(text, plain=is_plain, tag=tag)
        except ScalarError as error:
            self.problems.append(Problem.at(place, str(error)))
            value, text = None, ""
        return Scalar(place, value, text, quoted=not is_plain)

    def check_tag(self, tag: str | None, allowed: tuple[str, ...], place: Place) -> str:
        """The short name of a tag that is allowed here, '' for none; any other is a problem."""
        prefix = "tag:yaml.org,2002:"
        if tag is None:
            return ""
        if tag == "!":  # "not resolved": text, or the kind of node it stands before
            return "str" if "str" in allowed else ""
        short = tag.removeprefix(prefix)
        if tag.startswith(prefix) and short in allowed:
            return short
        shown = f"!!{short}" if tag.startswith(prefix) else tag
        hint = "remove it: a job file holds plain values only"
        self.problems.append(Problem.at(place, f"the tag {shown} is not allowed here", hint=hint))
        return ""
