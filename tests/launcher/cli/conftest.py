"""What tests of this room share."""

from pathlib import Path

import pytest

from tests.launcher.cli.shell import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path / "home", tmp_path)
