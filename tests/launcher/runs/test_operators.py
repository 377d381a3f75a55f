"""The slowest operators of profiled ranks, as people see them."""

import json
from pathlib import Path

import pytest

from launcher.cli import main
from launcher.dashboard.pages import run_page
from launcher.report.gather import gather
from launcher.report.page import page
from launcher.runfolder.states import PhaseStart, State
from launcher.runs.folder import RunFolder
from launcher.runs.operators import profiles_of
from tests.launcher.samples import NOW, Sample

OPERATORS = [
    {"type": f"Op{number}", "calls": 22, "ms": 110.0 / number, "share": 0.3 / number}
    for number in range(1, 13)
]


def summary(rank: int, **values: object) -> str:
    usual = {"format": 1, "rank": rank, "steps": [100, 110], "device": "CPU", "operators": OPERATORS}
    return json.dumps({**usual, **values})


@pytest.fixture
def sample(launcher_home: Path, tmp_path: Path) -> Sample:
    sample = Sample(
        tmp_path, profile={"steps": "100-110", "ranks": [0, 8]}, resources={"devices_per_node": 16}
    )
    sample.state(State.SUCCEEDED, phase_times=(PhaseStart(phase="running", at=NOW + 1, program="train"),))
    sample.write("profile/node-1/rank-8.json", summary(8))
    sample.write("profile/node-0/rank-0.json", summary(0))
    return sample


def test_a_report_has_the_ten_slowest_operators_of_each_rank(sample: Sample) -> None:
    html = page([gather(sample.run)])
    assert html.index("rank 0, steps 100 to 110") < html.index("rank 8, steps 100 to 110")
    assert "<td class=num>10.000</td>" in html  # 110 ms in 11 steps
    assert (html.count("Op10<"), html.count("Op11<")) == (2, 0)
    assert "profile/node-1/rank-8/" in html


def test_the_page_of_a_run_in_the_dashboard_has_them_too(sample: Sample) -> None:
    assert "rank 8, steps 100 to 110" in run_page(sample.run).rest


def test_status_names_the_three_slowest(sample: Sample, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", sample.entry.run_id]) == 0
    assert "rank 8, steps 100 to 110: Op1 30 %, Op2 15 %, Op3 10 %" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        summary(-1),
        summary(0, steps=[1]),
        summary(0, steps=[5, "6"]),
        summary(0, operators=[]),
        summary(0, operators=[{"type": "A", "calls": 1, "ms": "x", "share": 1}]),
    ],
)
def test_a_summary_that_is_none_is_left_out(sample: Sample, text: str) -> None:
    sample.write("profile/node-0/rank-0.json", text)
    assert [profile.rank for profile in profiles_of(RunFolder(sample.root))] == [8]
