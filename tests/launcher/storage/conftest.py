"""What tests of this room share."""

from __future__ import annotations

import pytest

from launcher.storage import ranges
from launcher.storage.s3 import reads as s3_reads


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_reads, "LARGE_BYTES", 3 << 20)
    monkeypatch.setattr(ranges, "RANGE_BYTES", 1 << 20)
