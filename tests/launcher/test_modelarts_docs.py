"""The page on ModelArts: its rules, its commands and its job files are those that exist."""

import re
from pathlib import Path

import pytest

from launcher.backends.modelarts_boot import NEEDED
from launcher.cli import COMMANDS
from launcher.submission import prepare

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "modelarts.md").read_text()


def test_every_command_on_the_page_exists() -> None:
    names = set(re.findall(r"^    (?:\.venv/bin/)?launcher ([a-z-]+)", TEXT, re.MULTILINE))
    assert (
        {"submit", "status", "logs", "explain", "doctor", "delete", "fetch-results"} <= names <= set(COMMANDS)
    )


@pytest.mark.parametrize("rule", ["MA050", "MA051", "MA052", "MA053", "MA054"])
def test_what_is_asked_of_the_service_is_on_the_page(rule: str) -> None:
    source = (ROOT / "launcher" / "backends" / "modelarts_check.py").read_text()
    assert f"| {rule} |" in TEXT
    assert f'"{rule}"' in source


@pytest.mark.parametrize("name", re.findall(r"jobs/(\w+\.yaml)", TEXT))
def test_its_job_files_are_fit_to_be_sent(name: str) -> None:
    assert [f for f in prepare(ROOT / "jobs" / name).findings if f.severity != "info"] == []


def test_the_image_has_what_the_boot_file_asks_for() -> None:
    recipe = (ROOT / "docs" / "modelarts.Dockerfile").read_text()
    assert [name for name in NEEDED if {"yaml": "pyyaml"}.get(name, name) not in recipe] == []


def test_a_page_that_is_linked_is_there() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / "docs" / link).exists(), link
