"""The files with hashes pin what the files of constraints pin."""

import re
from pathlib import Path

import pytest

CONSTRAINTS = Path(__file__).parents[1] / "constraints"
FILES = sorted(path.name for path in CONSTRAINTS.glob("*.txt"))


def normal(text: str) -> str:
    """The first pin of a text, its name as the index spells it."""
    name, _, version = text.split(maxsplit=1)[0].partition("==")
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}"


@pytest.mark.parametrize("name", FILES)
def test_the_same_versions_each_with_a_hash(name: str) -> None:
    pins = {normal(line) for line in (CONSTRAINTS / name).read_text().splitlines() if line}
    text = (CONSTRAINTS / "hashes" / name).read_text()
    blocks = [block for block in re.split(r"\n(?=\S)", text.strip()) if block]
    assert {normal(block) for block in blocks} == pins
    assert [block for block in blocks if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", block)] == []
