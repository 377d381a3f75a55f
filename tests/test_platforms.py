"""Platforms are plug-ins: outside its own room nothing names a platform, not even in a comment."""

import re
from pathlib import Path
from typing import get_args

import pytest

from launcher.backends import BACKENDS, get_backend
from launcher.jobfile.section import Section
from launcher.jobfile.spec import Backend, backend_sections

LAUNCHER = Path(__file__).parents[1] / "launcher"
PLATFORMS = {"slurm", "modelarts", "kubernetes", "volcano", *BACKENDS} - {"local"}
WORDS = re.compile("|".join(sorted(PLATFORMS)), re.IGNORECASE)

ALLOWED = {
    "backends/__init__.py",  # the registry
    "jobfile/spec.py",  # the sections of the job file
    *(f"jobfile/spec_{name}.py" for name in BACKENDS if name != "local"),
    "jobfile/spec_modelarts_parts.py",  # sections inside one of them
    "jobfile/template.py",  # what `launcher init` writes into a section
}


def places(text: str) -> list[str]:
    return [f"{n}: {line.strip()}" for n, line in enumerate(text.splitlines(), 1) if WORDS.search(line)]


def is_platform_room(name: str) -> bool:
    parts = name.split("/")
    return len(parts) > 2 and parts[0] == "backends" and parts[1] in BACKENDS


FILES = sorted(
    path.relative_to(LAUNCHER).as_posix()
    for path in LAUNCHER.rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
)


def test_a_platform_is_named_in_its_own_room_only() -> None:
    names = [name for name in FILES if name not in ALLOWED and not is_platform_room(name)]
    found = [
        f"{name}:{place}" for name in names for place in places((LAUNCHER / name).read_text(errors="replace"))
    ]
    found += [name for name in names if WORDS.search(name)]
    assert names
    assert not found, "ask the back end for a property (docs/backends.md):\n" + "\n".join(found)


def test_the_rule_can_fail() -> None:
    assert places("x = 1\n# as Slurm does\n") == ["2: # as Slurm does"]
    assert not is_platform_room("backends/base.py")
    assert not is_platform_room("backends/other/base.py")


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_every_exception_is_needed(name: str) -> None:
    assert places((LAUNCHER / name).read_text())


def test_registry_sections_and_choices_name_the_same_back_ends() -> None:
    assert set(BACKENDS) == set(get_args(Backend)) == set(backend_sections())
    assert all(section is not Section for section in backend_sections().values())


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_every_back_end_of_the_registry_can_be_loaded(name: str) -> None:
    backend = get_backend(name)
    assert backend.starts_again <= backend.runs_elsewhere, "this machine starts nothing again by itself"
