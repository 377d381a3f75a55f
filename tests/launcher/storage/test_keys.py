"""Keys that may become files, and those that may not."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.errors import StoreError
from launcher.storage import keys
from launcher.storage.keys import (
    PrefixGuard,
    check_key,
    folded,
    is_folder_marker,
    key_problem,
    local_path,
    parents,
)

GOOD = [
    "a",
    "a/b",
    "é/日本.jpg",
    "a b",
    "a+b%20&=?",
    "~",
    ".hidden",
    "...",
    "a:b|c",
    "n" * 255,
    "d" * 255 + "/x",
]
BAD = {
    "": "empty",
    "/": "segment",
    "/lead": "segment",
    "a//b": "segment",
    "trail/": "segment",
    ".": "leads elsewhere",
    "..": "leads elsewhere",
    "../x": "leads elsewhere",
    "x/../../y": "leads elsewhere",
    "./x": "leads elsewhere",
    "a/.": "leads elsewhere",
    "new\nline": "control",
    "nul\x00": "control",
    "tab\t": "control",
    "\x01": "control",
    "\x7f": "control",
    "c1\x85": "control",
    "n" * 256: "255 bytes",
    "é" * 128: "255 bytes",
    "/".join(["seg"] * 300): "1024 bytes",
    "lone\ud800": "Unicode",
}


@given(
    st.lists(
        st.sampled_from(
            ["a", ".", "..", "/", "-", "_", "é", "\n", ".launcher-part-", ".launcher-tmp-", "n" * 99]
        )
    )
)
def test_a_usual_key_is_one_that_the_closer_look_lets_pass(parts: list[str]) -> None:
    key = "".join(parts)
    assert not keys._USUAL.fullmatch(key) or key_problem(key) is None


@pytest.mark.parametrize("key", GOOD)
def test_good_keys(key: str) -> None:
    assert key_problem(key) is None
    assert check_key(key, "s3://b") == key


@pytest.mark.parametrize("key", BAD)
def test_bad_keys_say_why(key: str) -> None:
    assert BAD[key] in (key_problem(key) or "")
    with pytest.raises(StoreError) as caught:
        check_key(key, "s3://bucket/data")
    assert "s3://bucket/data" in str(caught.value)
    assert str(caught.value).isprintable() or "\n  hint" in str(caught.value)


@given(st.text(max_size=40))
def test_no_good_key_leaves_the_root(key: str) -> None:
    if key_problem(key) is None:
        path = local_path(Path("/root/of/store"), key)
        assert os.path.normpath(path) == str(path)
        assert Path("/root/of/store") in path.parents


def test_folder_markers() -> None:
    assert is_folder_marker("train/", 0)
    assert not is_folder_marker("train/", 5)
    assert not is_folder_marker("train", 0)


@given(st.lists(st.text(alphabet="ab/-", min_size=1, max_size=6), max_size=30, unique=True))
def test_the_guard_finds_every_key_that_is_also_a_folder(keys: list[str]) -> None:
    keys = sorted(key for key in keys if key_problem(key) is None)
    guard = PrefixGuard()
    found = False
    for key in keys:
        clash = guard.clash(key)
        if clash is not None:
            assert key.startswith(clash + "/")
            found = True
    assert found == any(other.startswith(key + "/") for key in keys for other in keys)


def test_folding_and_parents() -> None:
    assert folded("Train/É.jpg") == folded("train/e\u0301.JPG")
    assert folded("a") != folded("b")
    assert parents(["a/b/c", "a/d", "e"]) == {"a", "a/b"}
