"""Where the time of a run went."""

from pathlib import Path

import pytest

from launcher.cli import main
from launcher.report.gather import gather
from launcher.report.page import page
from launcher.runfolder.states import PhaseStart, State
from launcher.runs.goodput import goodput_of, repeated_seconds
from tests.launcher.samples import NOW, Sample, make_view

PHASES = (
    PhaseStart(phase="staging", at=NOW + 10),
    PhaseStart(phase="running", at=NOW + 20, program="train"),
    PhaseStart(phase="waiting", at=NOW + 60),
    PhaseStart(phase="running", at=NOW + 65, program="train"),
    PhaseStart(phase="uploading", at=NOW + 95),
)


def step(number: int, at: float) -> dict[str, object]:
    return {"event": "step", "step": number, "t": NOW + at}


EVENTS = [
    {"event": "phase", "phase": "compiling", "t": NOW + 22},
    {"event": "phase", "phase": "training", "t": NOW + 30},
    *(step(number, 30 + 5 * number) for number in range(1, 7)),
    {"event": "phase", "phase": "training", "t": NOW + 70},
    *(step(number, 50 + 5 * number) for number in range(5, 10)),
]


def test_each_second_has_one_place(tmp_path: Path, launcher_home: Path) -> None:
    view = make_view(submitted_at=NOW, ended_at=NOW + 100, state=State.SUCCEEDED, phase_times=PHASES)
    plan = Sample(tmp_path, resources={"devices_per_node": 8}).plan.model_copy(update={"device": "ascend910"})
    found = goodput_of(view, EVENTS, plan)
    assert found is not None
    assert found.lost == pytest.approx(
        {
            "queued": 10,
            "staging": 10,
            "starting": 7,
            "compiling": 8,
            "waiting": 5,
            "uploading": 5,
            "repeated": 10,
        }
    )
    assert found.training_s + sum(found.lost.values()) == pytest.approx(100)
    assert found.share == pytest.approx(0.45)
    assert found.device_hours == pytest.approx(90 * 8 / 3600)
    assert found.words.startswith("45 % of 1 min 40 s trained; ")
    assert found.words.endswith("; 0.2 NPU-hours")


@pytest.mark.parametrize(
    ("steps", "repeated"),
    [
        ([(1, 1), (2, 2), (3, 3)], 0),
        ([(1, 1), (2, 2), (3, 3), (2, 9), (3, 10)], 2),
        ([(1, 1), (2, 4), (1, 9)], 3),
        ([(2, 1), (4, 2), (4, 9), (6, 10), (4, 20)], 2),
    ],
)
def test_steps_that_are_trained_again(steps: list[tuple[int, float]], repeated: float) -> None:
    assert repeated_seconds([step(*each) for each in steps]) == pytest.approx(repeated)


def test_a_run_that_has_spent_no_time_has_none(tmp_path: Path, launcher_home: Path) -> None:
    assert goodput_of(make_view(submitted_at=0.0), [], Sample(tmp_path).plan) is None


def test_status_and_report_show_it(
    tmp_path: Path, launcher_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = Sample(tmp_path)
    sample.state(State.SUCCEEDED, phase_times=PHASES[:2])
    assert main(["status", sample.plan.run_id]) == 0
    assert "goodput   67 % of 1 min 00 s trained" in capsys.readouterr().out
    assert "67 % of 1 min 00 s trained" in page([gather(sample.run)])
