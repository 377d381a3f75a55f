"""PyYAML's loader, mended where it falls behind YAML 1.2 and so refuses JSON.

PyYAML follows YAML 1.1: a key may have 1,024 characters, has to be on one line with its colon, and a tab is no blank.
By YAML 1.2 (https://yaml.org/spec/1.2.2/#742-flow-mappings) none of this holds inside `{}`, and tabs separate tokens.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_ROOT_OF_JSON = re.compile(r'[{\[]|("([^"\\]|\\.)*"|null|true|false|-?[0-9][0-9.eE+-]*)[ \t\r\n]*\0')
"""What may follow a tab at the start of a line before anything else was read: brackets, or a scalar and nothing else."""
_REST_OF_NOTHING = "#\r\n\0"  # a comment, or the end of the line or of the text


class Loader(yaml.SafeLoader):
    """Cuts a text into events. Constructors and resolvers of PyYAML are not used."""

    flow_level: int
    indent: int
    allow_simple_key: bool
    possible_simple_keys: dict[int, Any]

    def __init__(self, text: str) -> None:
        self.brackets: list[str] = []  # the open ones
        super().__init__(text)

    def fetch_flow_collection_start(self, token_class: Any) -> None:
        self.brackets.append(self.peek())
        super().fetch_flow_collection_start(token_class)

    def fetch_flow_collection_end(self, token_class: Any) -> None:
        if self.brackets:
            self.brackets.pop()
        super().fetch_flow_collection_end(token_class)

    def stale_possible_simple_keys(self) -> None:
        """Forget tokens that can't be keys any more.

        The token before this point stays a candidate at any length, and inside `{}` on any line; for brackets that
        are still open PyYAML's limits hold, which keep its look-ahead short.
        """
        level = self.flow_level
        newest = self.possible_simple_keys.get(level)
        inside_braces = self.brackets[-1:] == ["{"]
        stays = newest is not None and (inside_braces or newest.line == self.line)
        if stays:
            del self.possible_simple_keys[level]
        super().stale_possible_simple_keys()
        if stays:
            self.possible_simple_keys[level] = newest

    def scan_to_next_token(self) -> None:
        """Skip blanks, comments and line breaks."""
        while True:
            while self.peek() == " ":
                self.forward()
            blanks = self._blanks_from_tab()
            if blanks:
                self.forward(blanks)
            if self.peek() == "#":
                while self.peek() not in "\0\r\n":
                    self.forward()
            if self.scan_line_break():  # type: ignore[no-untyped-call]
                self.allow_simple_key = self.allow_simple_key or not self.flow_level
            elif not blanks:
                return

    def _blanks_from_tab(self) -> int:
        """How many tabs and spaces can be skipped here; 0 where a tab would indent a section, whose depth it leaves open."""
        if self.peek() != "\t":
            return 0
        count = 1
        while self.peek(count) in " \t":
            count += 1
        if self.flow_level:
            return count
        before = self.buffer[self.pointer - self.column : self.pointer]
        if before.strip(" \t"):
            return 0 if self.allow_simple_key else count
        if self.peek(count) in _REST_OF_NOTHING:
            return count
        return count if self.indent < 0 and _ROOT_OF_JSON.match(self.buffer, self.pointer + count) else 0
