"""What messages about one kind of file call its values and keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from vitmodels.document.tree import Path, dotted

_NONE: Mapping[str, str] = MappingProxyType({})


class Terms:
    """The terms of a file of no special kind. A kind of file overrides what is different."""

    kind = "this file"
    all_keys = ""  # the command that explains all keys, where they are more than a message can list
    synonyms: Mapping[str, str] = _NONE  # values, in lower case, as they are called elsewhere

    def name(self, path: Path) -> str:
        """What a value is called: its dotted path."""
        return dotted(path)

    def called_here(self, section: Path, key: str) -> str:
        """The key of this section that other tools call so; '' when none is known."""
        return ""

    def known_elsewhere(self, key: str) -> str:
        """A hint on a key that belongs elsewhere or has another name here; '' when it is not known."""
        return ""

    def resembles(self, key: str, below: Sequence[str] = ()) -> str:
        """A hint on a key of another section that an unknown key of the top level resembles; '' when none does.

        `below` are the keys of the mapping that stands under it, if one does.
        """
        return ""
