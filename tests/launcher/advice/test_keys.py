"""Keys that advice names are keys that a user can set."""

from __future__ import annotations

import re
from typing import Any

import pytest

from launcher.advice.rows import advice_rows
from launcher.diagnosis.rules import table
from launcher.jobfile.schema import job_schema
from vitmodels.recipe_keys import known_keys

NO_KEYS = {"device_ip", "hccn_tool", "kernel_name", "link_stat", "set_env", "torch_npu"}
"""Names of others in advice: programs, files, packages, and words of their output."""
_WORD = re.compile(r"(?<![\w/$.-])([a-z]+)\.([a-z][a-z0-9_]*)\b|(?<![\w/$.-])([a-z0-9]+(?:_[a-z0-9]+)+)\b")


SCHEMA = job_schema()


def properties(node: Any) -> set[str]:
    """Every key that the schema of the job file knows, at any depth."""
    if isinstance(node, list):
        return {key for each in node for key in properties(each)}
    if not isinstance(node, dict):
        return set()
    return {*node.get("properties", {}), *(key for each in node.values() for key in properties(each))}


def keys_of(section: str) -> set[str]:
    """The keys of one section of the job file."""
    names = re.findall(r"#/\$defs/(\w+)", str(SCHEMA["properties"][section]))
    return {key for name in names for key in SCHEMA["$defs"][name].get("properties", {})}


KEYS = properties(SCHEMA) | set(known_keys())


def unknown_keys(text: str) -> list[str]:
    """Words of a text with the form of a key that nobody can set."""
    found = []
    for match in _WORD.finditer(text):
        section, key, word = match.groups()
        if (section in SCHEMA["properties"] and key not in keys_of(section)) or (
            word and word not in KEYS | NO_KEYS
        ):
            found.append(match[0])
    return found


def test_a_key_that_does_not_exist_is_found() -> None:
    assert unknown_keys("Set clip_global_norm, watch.hang_later or base_lr; see conf/hccn_x.") == [
        "clip_global_norm",
        "watch.hang_later",
    ]


@pytest.mark.parametrize("row", [*table().rules, *advice_rows()], ids=lambda row: row.id)
def test_keys_in_advice_exist(row: Any) -> None:
    assert unknown_keys(" ".join((row.means, *row.do, row.next))) == []
