"""Wrong job files and the exact words a user sees. Each message was read by a person.

A first line `#! WORDS` gives what overrides the file: `--set PATH=VALUE`, `LAUNCHER_SET_…=VALUE` or `defaults=FILE`.
After a change of wording: UPDATE_GOLDEN=1 pytest tests/launcher/jobfile/test_golden.py, then read the difference.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from launcher.jobfile.load import JobFileError, load_job

FOLDER = Path(__file__).parent / "golden"
CASES = sorted(path.name for path in FOLDER.glob("*.yaml"))


def _arguments(name: str) -> tuple[list[str], dict[str, str], Path]:
    first = (FOLDER / name).read_bytes().partition(b"\n")[0]
    words = first[3:].decode() if first.startswith(b"#! ") else ""
    sets, env, defaults = [], {}, Path("no-such-defaults.yaml")
    if words.startswith("--set "):
        sets = [words.removeprefix("--set ")]
    elif words.startswith("defaults="):
        defaults = Path(words.removeprefix("defaults="))
    elif words:
        key, _, value = words.partition("=")
        env = {key: value}
    return sets, env, defaults


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("name", CASES)
def test_message(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    sets, env, defaults = _arguments(name)
    with pytest.raises(JobFileError) as caught:
        load_job(name, overrides=sets, env=env, defaults_file=defaults)
    text = f"{caught.value}\n"
    expected = Path(name).with_suffix(".txt")
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")
    check_problems(caught.value)


def check_problems(error: JobFileError) -> None:
    """What holds for every problem, whatever its words are."""
    foreign = re.compile(
        r"Input should|pydantic|Value error|Traceback|ScannerError|ParserError|NoneType|<class"
    )
    assert error.problems
    for problem in error.problems:
        assert problem.message
        assert not foreign.search(str(problem)), problem
        assert not problem.message.endswith("."), problem
        place = problem.place
        assert (place.line == 0) == (place.column == 0)
        if place.line and place.in_file:
            assert str(problem).startswith(f"{place.file}:{place.line}:{place.column}: ")
            assert 1 <= place.column <= len(place.source_line) + 1
