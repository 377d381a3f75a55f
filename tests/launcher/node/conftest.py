"""What tests of this room share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launcher.node.machines import Machines


@pytest.fixture
def machines(tmp_path: Path, launcher_home: Path) -> Iterator[Machines]:
    machines = Machines(tmp_path, (tmp_path / "runs").as_uri())
    yield machines
    machines.end()
