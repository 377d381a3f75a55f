"""Syntax trees of scripts, read by one thread or by several."""

import gc
from concurrent.futures import ThreadPoolExecutor

import pytest

from launcher.plan.syntax import parse

SOURCE = b"def f(a):\n    return [a + (a * (a - 1)) for a in range(a)]\n" * 40


class _Switch:
    """Rubbish that only the collector frees; freeing it runs Python, which may give the other threads their turn."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        sum(range(2000))


@pytest.mark.system
def test_trees_made_by_several_threads_at_once_are_whole() -> None:
    def read(_: int) -> int:
        _Switch()
        tree = parse(SOURCE)
        return len(tree.body) if tree else 0

    thresholds = gc.get_threshold()
    gc.set_threshold(20)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(read, range(400))) == {40}
    finally:
        gc.set_threshold(*thresholds)


@pytest.mark.parametrize("source", [b"def f(:\n", b"a = '\0'\n", b"(" * 5000, b"# coding: nonsense\n"])
def test_a_source_that_python_cannot_read_has_no_tree(source: bytes) -> None:
    assert parse(source) is None
