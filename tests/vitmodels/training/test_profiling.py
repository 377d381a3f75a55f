"""The profiler around some steps of a training: what is left in the run directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.vitmodels.trainings import start


@pytest.mark.system
def test_some_steps_of_a_training_are_profiled(data: Path, tmp_path: Path) -> None:
    run = start(tmp_path / "run", data, epochs=1, options=("--profile-steps", "3-5"))
    assert run.wait() == [0], run.output(0)
    folder = run.folder / "profile" / "node-0"
    assert sorted(path.name for path in folder.iterdir()) == ["rank-0", "rank-0.json"]
    summary = json.loads((folder / "rank-0.json").read_text())
    assert (summary["rank"], summary["steps"], summary["device"]) == (0, [3, 5], "CPU")
    operators = summary["operators"]
    assert [each["ms"] for each in operators] == sorted((each["ms"] for each in operators), reverse=True)
    assert sum(each["share"] for each in operators) == pytest.approx(1, abs=0.001)
    assert {each["calls"] % 3 for each in operators} == {0}
    events = json.loads((folder / "rank-0" / "trace_view.json").read_text())["traceEvents"]
    assert len(events) == sum(each["calls"] for each in operators)
    assert "profiled steps 3 to 5 of rank 0" in run.output(0)
