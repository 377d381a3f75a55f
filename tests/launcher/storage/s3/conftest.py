"""An empty folder to fetch into, and an environment without this machine's settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "down").mkdir()
    return tmp_path / "down"


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's own settings."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "HUAWEI", "S3_", "OBS_", "ACCESS_", "SECRET_", "CREDENTIAL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LAUNCHER_NO_AGENCY", "1")
