"""Python source as a syntax tree, also where several threads read at once."""

from __future__ import annotations

import ast
import threading

_ONE_AT_A_TIME = threading.Lock()
"""CPython before 3.11.8 counts the depth of all threads' trees in one number and raises SystemError when two are made at once."""
_TRIES = 3


def parse(source: bytes) -> ast.Module | None:
    """The tree of a module; None where this Python can't read it."""
    for _ in range(_TRIES):
        try:
            with _ONE_AT_A_TIME:
                return ast.parse(source)
        except SystemError:  # code that isn't ours made a tree in another thread
            continue
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
    return None
