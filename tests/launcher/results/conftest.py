"""What tests of this room share."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.storage import ObjectStore, open_store
from tests.servers.rundir import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


@pytest.fixture
def memory(tmp_path: Path) -> ObjectStore:
    return open_store(f"memory://{tmp_path.name}/runs/r-1")
