"""The page on ModelArts: its rules, its commands and its job files are those that exist."""

import argparse
import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.cli import COMMANDS
from launcher.imagecheck import BASE, TRAIN
from launcher.jobfile.spec_modelarts import ModelArtsOptions
from launcher.jobfile.spec_modelarts_parts import ModelArtsRestarts
from launcher.jobfile.template import Wish, render
from launcher.submission.prepare import prepare

ROOT = Path(__file__).parents[4]
TEXT = (ROOT / "docs" / "modelarts.md").read_text()


def commands() -> list[list[str]]:
    lines = re.findall(r"^    (?:\.venv/bin/)?launcher (.*)$", TEXT, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def test_the_page_leads_through_the_life_of_a_run() -> None:
    wanted = {"cp", "check", "doctor", "submit", "status", "logs", "explain", "resume", "cancel", "delete"}
    assert {*wanted, "fetch-results"} <= {words[0] for words in commands()}


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_on_the_page_can_be_typed(words: list[str]) -> None:
    """Options that exist, with values that they take, and files that are there."""
    module = importlib.import_module(COMMANDS[words[0]][0])
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    parser.parse_args(words[1:])
    assert [word for word in words if word.startswith("jobs/") and not (ROOT / word).exists()] == []


@pytest.mark.parametrize("name", ["tests.fakes.modelarts", "vitmodels.digits"])
def test_every_program_on_the_page_can_be_started(name: str) -> None:
    assert f"python -m {name} " in TEXT
    assert importlib.util.find_spec(name) is not None


def test_every_setting_on_the_page_is_one_of_the_job_file() -> None:
    fields = {f"modelarts.{name}" for name in ModelArtsOptions.model_fields}
    fields |= {f"modelarts.restarts.{name}" for name in ModelArtsRestarts.model_fields}
    assert set(re.findall(r"`(modelarts\.[a-z_]+)`", TEXT)) <= fields


@pytest.mark.parametrize("rule", ["MA050", "MA051", "MA052", "MA053", "MA054", "MA055"])
def test_what_is_asked_of_the_service_is_on_the_page(rule: str) -> None:
    source = (ROOT / "launcher" / "backends" / "modelarts" / "check.py").read_text()
    assert f"| {rule} |" in TEXT
    assert f'"{rule}"' in source


@pytest.mark.parametrize("name", re.findall(r"jobs/(\w+\.yaml)", TEXT))
def test_its_job_files_are_fit_to_be_sent(name: str) -> None:
    assert [f for f in prepare(ROOT / "jobs" / name).findings if f.severity != "info"] == []


@pytest.mark.parametrize("full", [False, True], ids=["short", "full"])
@pytest.mark.parametrize("arch", ["tnt_digits", "tnt_s_patch16_224", "vit_base_patch16_224"])
@pytest.mark.parametrize("task", ["train", "eval", "export", "infer"])
def test_the_job_file_that_init_writes_breaks_no_rule(
    tmp_path: Path, arch: str, task: str, full: bool
) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(render(Wish("job", arch, "modelarts", task, full=full)))
    assert [f for f in prepare(path).findings if f.rule.startswith("MA")] == []


def dockerfile_step(word: str) -> str:
    """The command of the RUN line that has this word, as a shell gets it."""
    text = (ROOT / "docs" / "modelarts.Dockerfile").read_text().replace("\\\n", " ")
    (step,) = [line for line in text.splitlines() if line.startswith("RUN ") and word in line]
    return step.removeprefix("RUN ")


@pytest.mark.parametrize("bare", [False, True], ids=["an image that has all", "a bare image"])
def test_the_image_is_built_from_any_base(bare: bool, tmp_path: Path) -> None:
    """Its step runs here with a Python that has no packages until pip was called; nothing is downloaded."""
    called, python = tmp_path / "called", tmp_path / "python"
    python.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = -m ]; then cat "$6" > {called}; exit; fi\n'
        f'if [ -e {called} ] || {"false" if bare else "true"}; then exec {sys.executable} "$@"; fi\n'
        f'exec {sys.executable} -I -S "$@"\n'
    )
    python.chmod(0o700)
    (tmp_path / "imagecheck.py").write_bytes((ROOT / "launcher" / "imagecheck.py").read_bytes())
    step = dockerfile_step("imagecheck").replace("/tmp/", f"{tmp_path}/")
    done = subprocess.run(
        ["sh", "-c", step], env={"PYTHON": str(python)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "nothing is lacking\n"), done.stderr
    assert called.exists() == bare
    if bare:
        assert called.read_text().splitlines() == [need.requirement for need in (*BASE, *TRAIN)]
    assert not (tmp_path / "lacking.txt").exists()


def test_a_page_that_is_linked_is_there() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / "docs" / link).exists(), link
