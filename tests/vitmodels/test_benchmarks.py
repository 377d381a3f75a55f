"""A benchmark says why a library is left out, and fails when it was asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import models
from benchmarks.models import CannotRun, Worker


@pytest.fixture
def python(tmp_path: Path) -> str:
    """An interpreter that has nothing."""
    path = tmp_path / "python"
    path.write_text('#!/bin/sh\necho noise >&2\necho "ImportError: there is no torch" >&2\nexit 1\n')
    path.chmod(0o755)
    return str(path)


def test_a_library_that_cannot_run_names_its_reason(python: str) -> None:
    with pytest.raises(CannotRun, match=r"^timm: ImportError: there is no torch$") as caught:
        Worker("timm", "vit_digits", 1, python)
    assert caught.value.library == "timm"
    with pytest.raises(CannotRun, match=r"^timm: exit code 1 without a word$"):
        Worker("timm", "vit_digits", 1, "/bin/false")


def test_what_was_asked_for_and_fails_is_an_exit_code(
    python: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def compare(*_: object) -> tuple[dict[str, object], list[CannotRun]]:
        return {}, [CannotRun("timm", "ImportError: there is no torch")]

    monkeypatch.setattr(models, "compare", compare)
    for arguments, code in (([], 0), (["--torch-python", python], 1)):
        monkeypatch.setattr(
            sys, "argv", ["models.py", "--arch", "tnt_s_patch16_224", "--no-compile", *arguments]
        )
        assert models.main() == code
        assert "left out: timm: ImportError: there is no torch" in capsys.readouterr().out
