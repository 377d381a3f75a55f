"""Patterns of the section `progress:`: right ones, wrong ones, and those that would take too long."""

import sys
from pathlib import Path

import pytest
import yaml

from launcher.cli import main
from launcher.jobfile.linear import NotLinear, check_linear
from launcher.jobfile.load import JobFileError, load_job


@pytest.mark.parametrize(
    "pattern",
    [
        r"step (\d+)/(\d+)",
        r"(?i)Step:\s*(\d+)",
        r"loss[:= ]+([\d.]+)",
        r"loss=(-?\d+(?:\.\d+)?(?:e[-+]?\d+)?|nan|inf)",
        r"^.*loss: (\d+)",
        r"^(\d+)/(\d+)",
        r"\b(\d{1,9})/(\d{1,9})",
        r"Epoch (\d+)\D{1,40}step (\d+)",
        r"it[ée]ration\s+(\d+)",
        r"步 (\d+)",
        r"(?:step|iter)\s*(\d+)",
        r"[^\d](\d{1,5}) steps",
    ],
)
def test_usual_patterns_are_linear(pattern: str) -> None:
    check_linear(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+b",
        r"(a|aa)+b",
        r"(a|a)*b",
        r"(\w+ )*x",
        r"(?:a?){30}a{30}",
        r"(\d+)/(\d+)",
        r"(\d+)\s*it",
        r"x\d+\d+",
        r"x\w*\d*y",
        r"loss.*acc (\d+)",
        r"a\s*=\s*(\S+)",
        r"^.*.*(x)",
        r"^\s*(\d*)\s*x",
        r"(?i)s[A-Z]+X",
        r"s\D*(\d+)",
        r"é[^a]*x(\d)",
        r"x(?=y)",
        r"(a)\1",
        r"a{0,100}a{0,100}b",
        *([r"(?>\w+)x"] if sys.version_info >= (3, 11) else []),  # 3.10 does not know it
        "|".join(f"a{i}(?:b|cd)(?:e|fg)" for i in range(40)),
    ],
)
def test_patterns_that_may_take_longer_are_refused(pattern: str) -> None:
    with pytest.raises(NotLinear):
        check_linear(pattern)


def job(folder: Path, **sections: object) -> Path:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump({"name": "a", "program": ["python", "-c", "0"], **sections}))
    return path


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        ({"step": "step (\\d+"}, "not a regular expression"),
        ({"step": "step \\d+"}, "a group in parentheses"),
        ({"loss": "(a+)+"}, "may take more than linear time"),
        ({"loss": "x" * 501}, "at most 500 characters"),
        ({"loss": "(" * 400 + ")" * 400}, "at most 500 characters"),
        ({"lost": "x"}, "did you mean"),
        ({"total_epochs": 0}, "total_epochs"),
        ({"step": 3}, "step"),
        ({"step": "s(1)", "from_lines": False}, "no pattern is used"),
    ],
)
def test_a_mistake_names_its_line(tmp_path: Path, progress: dict[str, object], words: str) -> None:
    path = job(tmp_path, progress=progress)
    with pytest.raises(JobFileError) as error:
        load_job(path)
    assert words in str(error.value)
    (line,) = {
        number
        for number, text in enumerate(path.read_text().splitlines(), 1)
        if f"  {next(iter(progress))}:" in text
    }
    assert error.value.problems[0].place.line == line


def test_a_note_says_that_a_job_of_vitmodels_has_no_use_for_it(
    tmp_path: Path, launcher_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "job.yaml"
    values = {
        "name": "a",
        "model": {"arch": "tnt_digits"},
        "data": {"url": "d"},
        "progress": {"total_epochs": 3},
    }
    path.write_text(yaml.safe_dump(values))
    main(["check", str(path)])
    assert "progress: is not used" in capsys.readouterr().out


def test_check_accepts_patterns(
    tmp_path: Path, launcher_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = job(tmp_path, progress={"step": r"iter (\d+)/(\d+)", "loss": r"loss=([-+.\w]+)"})
    assert main(["check", str(path)]) == 0, capsys.readouterr()
