"""What an image lacks: one file that needs no package, and the same packages as pyproject.toml."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from launcher import imagecheck
from launcher.cli import main
from launcher.imagecheck import BASE, TRAIN, Need, is_satisfied, lacks, pip_line, report
from tests.corners import python_of

ROOT = Path(__file__).parents[2]
FILE = ROOT / "launcher" / "imagecheck.py"


def listed(pattern: str) -> set[str]:
    """The requirements of a list of pyproject.toml, without their markers."""
    found = re.search(pattern, (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return {word.partition(";")[0].strip() for word in re.findall(r'"([^"]+)"', found[1])}


def test_it_asks_for_what_the_package_asks_for() -> None:
    assert {need.requirement for need in BASE} == listed(r"^dependencies = \[(.*?)\]$")
    train = {re.sub(r"platform_machine.*", "", word) for word in listed(r"^train = \[(.*?)^\]")}
    assert {need.requirement for need in TRAIN} == {word for word in train if word != "x86_64"} - {""}


def alone(python: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The file by itself, in a Python without any package."""
    command = [python, "-I", "-S", str(FILE), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_bare_image_gets_one_line_of_pip() -> None:
    done = alone(sys.executable)
    assert (done.returncode, done.stderr) == (2, "")
    lines = done.stdout.splitlines()
    assert "pydantic>=2.10 is not installed, and nothing runs without it" in lines
    assert "rich>=13 is not installed; without it: progress as plain lines" in lines
    (line,) = [line for line in lines if "pip install" in line]
    assert all(f"'{need.requirement}'" in line for need in (*BASE, *TRAIN))
    assert alone(sys.executable, "--base", "--requirements").stdout.split() == [n.requirement for n in BASE]


@pytest.mark.parametrize("release", ["3.8", "3.9", "3.10", "3.12", "3.13"])
def test_every_python_that_an_image_may_have_gets_an_answer(release: str) -> None:
    if not (python := python_of(release)):
        pytest.skip(f"NOT TESTED: no Python {release} here")
    done = alone(python)
    assert (done.returncode, done.stderr) == (2, "")
    old = int(release.partition(".")[2]) < 10
    assert ("launcher needs 3.10 or newer" in done.stdout) == old
    assert ("pip install" in done.stdout) == (not old)


def test_what_is_there_needs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image-check"]) == 0
    assert "pip install" not in capsys.readouterr().out


def test_versions_are_compared_as_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"pydantic": "1.10.2", "numpy": "2.0.1", "mindspore": "2.10.0rc1", "pyyaml": "6"}
    monkeypatch.setattr(imagecheck, "version", versions.__getitem__)
    monkeypatch.setattr(imagecheck, "_can_be_found", lambda module: True)
    needs = [
        Need("pydantic>=2.10", "pydantic"),
        Need("numpy>=1.25,<2", "numpy"),
        Need("mindspore>=2.7,<3", "mindspore"),
    ]
    found = lacks([*needs, Need("pyyaml>=6", "yaml")])
    assert [(lack.need.module, lack.found) for lack in found] == [("pydantic", "1.10.2"), ("numpy", "2.0.1")]
    good, lines = report(needs)
    assert not good
    assert lines[0] == "pydantic>=2.10 is 1.10.2, and nothing runs without it"
    assert pip_line(found) == f"{sys.executable} -m pip install 'pydantic>=2.10' 'numpy>=1.25,<2'"


def test_an_empty_folder_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leftover").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert lacks([Need("pytest>=1", "leftover")])


@pytest.mark.parametrize(
    ("line", "there"),
    [
        ("pytest", True),
        ("pytest>=2, <1000", True),
        ("PyYAML  # with a reason", True),
        ("", True),
        ("pytest>=1000", False),
        ("no-such-package", False),
        ("pytest[extra]", False),
        ("pytest; python_version > '3'", False),
        ("pytest~=8.0", False),
        ("pytest @ file:///tmp/x.whl", False),
        ("-r more.txt", False),
    ],
)
def test_a_line_for_pip_is_satisfied_only_when_that_is_certain(line: str, there: bool) -> None:
    assert is_satisfied(line) is there


def test_follow_without_rich_prints_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from launcher.cli import follow

    for name in [name for name in sys.modules if name.split(".")[0] == "rich" or name == "launcher.cli.live"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with follow._screen(quiet=False) as screen:
        assert isinstance(screen, follow.Plain)
    assert "progress as plain lines" in capsys.readouterr().err
