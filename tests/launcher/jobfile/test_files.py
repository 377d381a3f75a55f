"""`base:` in a job file: values of both files, the place of each, and one whole text of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.cli import main
from launcher.jobfile.load import JobFileError, LoadedJob, load_job
from vitmodels.document.reader import read
from vitmodels.document.tree import plain

BELOW = """name: below
model: {arch: tnt_digits, set: {epochs: 5, base_lr: 1e-3}}
data: {url: pictures}
resources: {nodes: 2, device: ascend910}
env: {A: "1e-3", B: "no", C: "a: b # c", "D": ""}
after: {export: [ONNX, MINDIR]}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shared").mkdir()
    write("shared/below.yaml", BELOW)
    return tmp_path


def write(name: str, text: str) -> None:
    Path(name).write_text(text, encoding="utf-8")


def load(text: str, **arguments: object) -> LoadedJob:
    write("job.yaml", text)
    return load_job("job.yaml", env={}, defaults_file=Path("none"), **arguments)  # type: ignore[arg-type]


def test_sections_are_merged_and_lists_replaced(folder: Path) -> None:
    job = load(
        "base: shared/below.yaml\nresources: {nodes: 3}\nafter: {export: [AIR]}\n", overrides=["epochs=7"]
    )
    assert job.spec.name == "below"
    assert (job.spec.resources.nodes, job.spec.resources.device) == (3, "ascend910")
    assert job.spec.after.export == ("AIR",)
    assert job.recipe is not None
    assert (job.recipe.epochs, job.recipe.base_lr) == (7, 0.001)
    assert str(job.origins["resources.nodes"]) == "job.yaml:2"
    assert str(job.origins["resources.device"]) == "shared/below.yaml:4"
    assert str(job.origins["recipe.base_lr"]) == "shared/below.yaml:2"


def test_a_chain_each_beside_the_one_before(folder: Path) -> None:
    Path("shared/deep").mkdir()
    write("shared/deep/more.yaml", "base: ../below.yaml\nname: more\nresources: {nodes: 4}\n")
    job = load("base: shared/deep/more.yaml\nresources: {devices_per_node: 8}\n")
    assert job.spec.name == "more"
    assert (job.spec.resources.nodes, job.spec.resources.devices_per_node) == (4, 8)
    assert str(job.origins["data.url"]) == "shared/below.yaml:3"


def test_a_recipe_lies_beside_the_file_that_names_it(folder: Path) -> None:
    write("shared/recipe.yaml", "arch: tnt_digits\nepochs: 11\n")
    write("recipe.yaml", "arch: tnt_digits\nepochs: 12\n")
    write("shared/below.yaml", "name: a\nmodel: {config: recipe.yaml}\ndata: {url: d}\n")
    Path("elsewhere").mkdir()
    write("elsewhere/job.yaml", "base: ../shared/below.yaml\n")
    Path("recipe.yaml").unlink()
    recipe = load_job("elsewhere/job.yaml", env={}, defaults_file=Path("none")).recipe
    assert recipe is not None
    assert recipe.epochs == 11


def test_the_stored_text_is_whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    job = load("base: shared/below.yaml\nname: mine\nenv: {E: '${HOME}', F: \"yes\"}\n")
    merged, problems = read(job.source_text, "stored")
    assert merged is not None and not problems
    assert plain(merged)["env"] == {  # type: ignore[index]
        "A": "1e-3", "B": "no", "C": "a: b # c", "D": "", "E": "${HOME}", "F": "yes",
    }  # fmt: skip
    alone = tmp_path_factory.mktemp("alone") / "job.yaml"
    alone.write_text(job.source_text, encoding="utf-8")
    env = {"HOME": "home"}
    again = load_job(alone, env=env, defaults_file=Path("none"))
    assert again.spec == load_job("job.yaml", env=env, defaults_file=Path("none")).spec
    assert again.recipe == job.recipe


def test_a_file_without_a_base_is_stored_as_it_is(folder: Path) -> None:
    assert load(BELOW).source_text == BELOW


def test_a_file_based_on_itself(folder: Path) -> None:
    with pytest.raises(JobFileError, match=r"job\.yaml → job\.yaml"):
        load("base: job.yaml\nname: a\n")


def test_a_base_that_is_no_job_file(folder: Path) -> None:
    write("shared/below.yaml", "")
    with pytest.raises(JobFileError, match=r"shared/below\.yaml.*empty"):
        load("base: shared/below.yaml\nname: a\nmodel: {arch: tnt_digits}\ndata: {url: d}\n")


def test_explain_names_the_file_of_each_value(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("job.yaml", "base: shared/below.yaml\nresources: {nodes: 3}\n")
    assert main(["explain", "job.yaml"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["resources.nodes", "=", "3", "←", "job.yaml:2"] in lines
    assert ["data.url", "=", '"pictures"', "←", "shared/below.yaml:3"] in lines
