"""`args:` fills places of a program's words, from the file, `--set` and sweeps; keys that nothing reads are refused."""

from pathlib import Path

import pytest
import yaml

from launcher.jobfile.load import JobFileError, load_job
from launcher.submission.prepare import prepare
from launcher.submission.sweeps import parse_axis, prepare_points


@pytest.fixture
def job(tmp_path: Path, launcher_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("train.py").touch()
    return write(args={"lr": 0.1})


def write(**sections: object) -> Path:
    words = ["python", "train.py", "--lr", "{args.lr}", "--name={args.lr}-{args.lr}"]
    path = Path("job.yaml")
    path.write_text(yaml.safe_dump({"name": "a", "program": words, **sections}))
    return path


def words_of(path: Path, *overrides: str) -> tuple[str, ...]:
    return load_job(path, overrides=overrides, env={}).spec.program[2:]


def test_values_stand_as_they_are_written(job: Path) -> None:
    assert words_of(job) == ("--lr", "0.1", "--name=0.1-0.1")
    assert words_of(job, "args.lr=1e-4")[1] == "1e-4"
    assert words_of(job, "args.lr='a b'")[1] == "a b"


def test_env_and_resume_args_are_filled_too(job: Path) -> None:
    write(args={"lr": True}, env={"LR": "{args.lr}"}, resume_args=["--from", "{resume}", "{args.lr}"])
    spec = load_job(job, env={}).spec
    assert (spec.env, spec.resume_args) == ({"LR": "True"}, ("--from", "{resume}", "True"))


def test_a_sweep_fills_them(job: Path) -> None:
    points = prepare_points(job, [parse_axis("args.lr=0.1,0.01"), parse_axis("args.name=x,y")][:1])
    argvs = [point.job.plan.steps[0].argv for point in points]
    assert [argv[3] for argv in argvs] == ["0.1", "0.01"]
    assert points[1].labels == {"args.lr": "0.01"}


@pytest.mark.parametrize(
    ("sections", "overrides", "words"),
    [
        ({}, [], "{args.lr} has no value"),
        ({"args": {"lr": 1, "seed": 2}}, [], "'seed' fills no place"),
        ({"args": {"lr": 1}}, ["args.learning_rate=2"], "'learning_rate' fills no place"),
        ({"args": {"lr": 1, "api_token": "x"}}, [], "looks like a secret"),
        ({"args": {"lr": 1}}, ["epochs=3"], "'epochs' is a key of recipes"),
    ],
)
def test_what_would_change_nothing_is_refused(
    job: Path, sections: dict[str, object], overrides: list[str], words: str
) -> None:
    with pytest.raises(JobFileError) as error:
        load_job(write(**sections), overrides=overrides, env={})
    assert words in str(error.value)


def test_a_recipe_key_of_the_environment_is_refused(job: Path) -> None:
    with pytest.raises(JobFileError, match="'epochs' is a key of recipes"):
        load_job(job, env={"LAUNCHER_SET_EPOCHS": "3"})


def test_a_program_whose_job_has_a_recipe_takes_its_keys(job: Path) -> None:
    assert prepare(job, overrides=["model.set.epochs=3"]).plan.recipe == {"epochs": 3}
    write(args={"lr": 1}, model={"set": {"epochs": 1}})
    assert prepare(job, overrides=["epochs=3"]).plan.recipe == {"epochs": 3}
