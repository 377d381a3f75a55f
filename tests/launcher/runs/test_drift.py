"""Whether the folder of a submission has changed: the store is asked only where it can know."""

import json
from pathlib import Path

import pytest

from launcher.runs.drift import Drift, drift_of
from launcher.storage.address import StoreAddress
from tests.launcher.samples import Sample


@pytest.mark.parametrize("snapshot", [None, {"digest": ""}, {"digest": "0" * 64}, "damaged"])
def test_a_run_without_a_snapshot_asks_no_store(
    launcher_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, snapshot: object
) -> None:
    """`tests/launcher/node/test_snapshot.py` has what the store answers."""
    sample, asked = Sample(tmp_path), []
    data = sample.plan.model_dump(mode="json") | {"snapshot": snapshot}
    sample.write("plan.json", json.dumps(data))
    real = StoreAddress.open
    monkeypatch.setattr(StoreAddress, "open", lambda self, *a, **k: asked.append(self) or real(self, *a, **k))
    assert drift_of(sample.entry) == Drift()
    assert bool(asked) == (snapshot not in (None, {"digest": ""}))
