"""The support matrix is one: what doctor knows, what the README shows, and what `make test-matrix` runs."""

import re
from pathlib import Path

import pytest

from launcher.doctor import machine as doctor
from launcher.doctor.machine import CORNERS, machine_checks
from tests.corners import corners

ROOT = Path(__file__).parents[3]
PINNED = "2.10"
"""Of constraints.txt, which `make test` uses with 3.11."""


def test_the_three_tables_agree() -> None:
    shown = re.findall(r"^\| (3\.\d+) \| (2\.\d+|none)", (ROOT / "README.md").read_text(), re.MULTILINE)
    known = {(python, release) for python, releases in CORNERS.items() for release in releases or ("none",)}
    assert set(shown) == known
    run = {re.fullmatch(r"python([\d.]+)-(?:mindspore([\d.]+)|base)", name) for name in corners()}
    assert all(run)
    names = {(match[1], match[2] or "none") for match in run if match}
    assert names == known - {("3.11", PINNED)}
    assert f"mindspore=={PINNED}." in (ROOT / "constraints.txt").read_text()


@pytest.mark.parametrize("name", corners())
def test_a_corner_s_constraints_are_of_its_mindspore(name: str) -> None:
    text = (ROOT / "constraints" / f"{name}.txt").read_text()
    found = re.search(r"^mindspore==(\d+\.\d+)", text, re.MULTILINE)
    assert (found[1] if found else "base") == re.split("-mindspore|-", name)[1]


@pytest.mark.parametrize(
    ("release", "version", "severity"),
    [
        ("3.11", "2.8.0", "ok"),
        ("3.11", "2.9.0", "ok"),
        ("3.12", "2.9.0", "info"),
        ("3.12", "2.7.1", "info"),
        ("3.11", "2.4.0", "warning"),
        ("3.11", "2.11.0", "warning"),
        ("3.11", "3.0.0", "warning"),
        ("3.11", "master", "warning"),
    ],
)
def test_doctor_says_what_was_tested(
    release: str, version: str, severity: str, monkeypatch: pytest.MonkeyPatch, launcher_home: Path
) -> None:
    monkeypatch.setattr(doctor, "python_release", lambda: release)
    monkeypatch.setattr(doctor, "version_of", lambda package: version if package == "mindspore" else "")
    found = {check.rule: check for check in machine_checks()}["MindSpore"]
    assert found.severity == severity
    assert version in found.message
    assert severity == "ok" or "3.12 with 2.10" in found.message
