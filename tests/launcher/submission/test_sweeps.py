import sys
from pathlib import Path

import pytest

import launcher
from launcher.api import sweep
from launcher.cli import main
from launcher.errors import UsageError
from launcher.jobfile.problems import JobFileError
from launcher.runs.index import Index
from launcher.runs.listing import Filter, select
from launcher.submission.sweeps import MAX_RUNS, Axis, group_name, parse_axis, prepare_points
from tests.launcher.samples import write_job

CURVE = Path(__file__).parents[2] / "programs" / "curve.py"


def test_values_are_separated_by_commas_outside_brackets() -> None:
    assert parse_axis("base_lr=1e-4, 5e-4") == Axis("base_lr", ("1e-4", "5e-4"))
    assert parse_axis("model.set.mean=[0.5, 0.4, 0.4],[0, 0, 0]").values == ("[0.5, 0.4, 0.4]", "[0, 0, 0]")


@pytest.mark.parametrize("text", ["seed", "seed=", "=1,2", "seed=1,,2"])
def test_what_is_no_axis(text: str) -> None:
    with pytest.raises(UsageError, match="expected KEY=VALUE"):
        parse_axis(text)


def test_a_value_twice() -> None:
    with pytest.raises(UsageError, match="the value 1 twice"):
        parse_axis("seed=1,2,1")


def test_every_combination_is_planned_with_its_values(launcher_home: Path, tmp_path: Path) -> None:
    axes = [Axis("model.set.base_lr", ("1e-4", "5e-4")), Axis("model.set.seed", ("0", "1"))]
    points = prepare_points(write_job(tmp_path), axes, overrides=["model.set.epochs=3"])
    assert [list(point.labels.values()) for point in points] == [
        ["1e-4", "0"],
        ["1e-4", "1"],
        ["5e-4", "0"],
        ["5e-4", "1"],
    ]
    assert [point.job.plan.recipe for point in points][2] == {"epochs": 3, "base_lr": 0.0005, "seed": 0}
    assert len({point.job.plan.run_id for point in points}) == 4


def test_limits(launcher_home: Path, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    with pytest.raises(UsageError, match="only once"):
        prepare_points(job, [Axis("seed", ("1",)), Axis("seed", ("2",))])
    with pytest.raises(UsageError, match=f"the limit is {MAX_RUNS}"):
        prepare_points(job, [Axis("seed", tuple(map(str, range(300))))])


def test_group_names_carry_the_time() -> None:
    assert group_name("tnt", 0) == "tnt-sweep-19700101-000000"


def test_a_sweep_runs_and_its_runs_are_found_by_group(jobs, capsys: pytest.CaptureFixture[str]) -> None:
    job = jobs.file(
        program=[sys.executable, str(CURVE)], env={"STEPS": "2", "STEP_S": "0"}, model={"set": {"epochs": 1}}
    )
    words = ["submit", str(job), "--sweep", "seed=0,1", "--group", "two"]
    assert main([*words, "--dry-run"]) == 0
    assert "group two, 2 runs\n  seed=0\n  seed=1\n" in capsys.readouterr().out
    assert jobs.index.ids() == []
    assert main([*words, "--follow"]) == 0
    out = capsys.readouterr().out
    runs = [launcher.find(run_id) for run_id in out.splitlines()[:2]]
    jobs.entries += [run.entry for run in runs]
    assert out.splitlines()[-3].split()[:3] == ["RUN", "STATE", "seed"]
    assert {view.labels["seed"] for view in select(Index(), Filter(group="two"), None)} == {"0", "1"}
    assert runs[0].record()["labels"] == {"seed": "0"}
    assert runs[0].metrics()[0].loss != runs[1].metrics()[0].loss


def test_a_sweep_from_python_is_refused_as_a_whole(launcher_home: Path, tmp_path: Path) -> None:
    with pytest.raises(JobFileError, match=r"model\.set\.epochs|epochs: expected"):
        sweep(
            write_job(tmp_path, model={"arch": "tnt_digits"}, data={"url": "d"}, program=None),
            {"epochs": [1, "x"]},
        )
    assert Index().ids() == []
