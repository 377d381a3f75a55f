"""`launcher init`: what it writes is right as it stands, and stays right when keys are uncommented."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import jsonschema
import pytest

from launcher.cli import main
from launcher.jobfile.load import load_job
from launcher.jobfile.schema import job_schema
from launcher.jobfile.template import Wish, render
from vitmodels.document.reader import read
from vitmodels.document.tree import plain

TASKS = ("train", "eval", "export", "infer")
ARCHS = ("tnt_digits", "vit_digits", "tnt_s_patch16_224", "ViT-B_16", "vit_tiny")
VALIDATOR = jsonschema.Draft202012Validator(job_schema())


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAUNCHER_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("full", [False, True], ids=["short", "full"])
@pytest.mark.parametrize(("task", "arch"), list(itertools.product(TASKS, ARCHS)))
def test_the_file_is_right(task: str, arch: str, full: bool) -> None:
    text = render(Wish("a", arch, task=task, full=full))
    Path("job.yaml").write_text(text, encoding="utf-8")
    job = load_job("job.yaml", env={})
    assert (job.spec.task, job.spec.resources.backend) == (task, "local")
    assert job.recipe is not None
    node, problems = read(text, "job.yaml")
    assert node is not None and not problems
    VALIDATOR.validate(plain(node))
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.parametrize("task", TASKS)
def test_every_commented_key_is_right_when_it_is_uncommented(task: str) -> None:
    text = render(Wish("a", "tnt_s_patch16_224", task=task, full=True))
    full = re.sub(r"^( *)#([a-z_]+:)", r"\1\2", text, flags=re.MULTILINE)
    assert full.count("#") < text.count("#")
    full = full.replace("program: [python, my_train.py]", "#")  # in place of vitmodels, not beside it
    full = full.replace("base: tnt_s_8p.yaml", "#")
    Path("job.yaml").write_text(full, encoding="utf-8")
    load_job("job.yaml", env={})


def test_every_key_of_every_section_is_in_it() -> None:
    text = render(Wish("a", "tnt_digits", full=True))
    keys = set(re.findall(r"^ *#?([a-z_]+):", text, flags=re.MULTILINE))
    schema = job_schema()
    sections = [
        schema["$defs"][field["$ref"].rpartition("/")[2]]
        for field in schema["properties"].values()
        if "$ref" in field
    ]
    wanted = {key for section in (schema, *sections) for key in section["properties"]}
    assert len(sections) > 5
    assert wanted <= keys


@pytest.mark.parametrize(
    ("arch", "devices", "recipe"),
    [
        ("vit_base_patch16_224", 0, {"epochs": 160, "lr_init": 0.18}),
        ("vit_base_patch16_224", 1, {"epochs": 160, "lr_init": 0.02}),
        ("vit_base_patch16_224", 4, {"epochs": 160, "lr_init": 0.08}),
        ("tnt_s_patch16_224", 1, {"epochs": 300}),
        ("tnt_digits", 0, {"epochs": 20}),
        ("vit_tiny", 0, {"epochs": 300}),
    ],
)
def test_the_recipe_is_that_of_the_number_of_devices(
    arch: str, devices: int, recipe: dict[str, float]
) -> None:
    assert main(["init", "--arch", arch, "--backend", "slurm", "--devices", str(devices)]) == 0
    spec = load_job("job.yaml", env={}).spec
    assert spec.model.set == recipe
    assert spec.resources.devices_per_node == devices or not devices


def test_short_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "-"]) == 0
    short = capsys.readouterr().out
    assert main(["init", "-", "--full"]) == 0
    assert len(short.splitlines()) < 50 < len(capsys.readouterr().out.splitlines())
    assert not re.search(r"^ *#[a-z_]+:", short, flags=re.MULTILINE)


def test_images_that_are_here_are_used(capsys: pytest.CaptureFixture[str]) -> None:
    Path("demo/digits/train").mkdir(parents=True)
    assert main(["init"]) == 0
    assert load_job("job.yaml", env={}).spec.data.url == "demo/digits"
    assert "vitmodels.digits" not in capsys.readouterr().out
    Path("imagenet/train").mkdir(parents=True)
    assert main(["init", "--arch", "vit_base_patch16_224", "--force"]) == 0
    spec = load_job("job.yaml", env={}).spec
    assert (spec.data.url, spec.output.url) == ("imagenet", "runs")
    assert "obs://" not in capsys.readouterr().out + Path("job.yaml").read_text(encoding="utf-8")
    assert main(["init", "--data", "s3://mine/pictures", "--force"]) == 0
    assert load_job("job.yaml", env={}).spec.data.url == "s3://mine/pictures"


def test_what_comes_next_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "job.yaml written; next:",
        "  python -m vitmodels.digits data/digits",
        "  launcher check job.yaml",
        "  launcher submit job.yaml --follow",
    ]
    assert main(["init", "--backend", "modelarts", "--task", "eval", "--force"]) == 0
    said = capsys.readouterr().out
    assert "obs://bucket" in said
    assert "RUN_ID" in said
    assert main(["init", "--devices", "65", "--force"]) == 2
    assert "--devices 65" in capsys.readouterr().err


def test_the_command_writes_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 0
    assert main(["check", "job.yaml"]) == 2  # its data are not there yet
    assert "python -m vitmodels.digits" in capsys.readouterr().out
    for part in ("train", "val"):
        Path(f"data/digits/{part}/0").mkdir(parents=True)
    for index in range(32):
        Path(f"data/digits/train/0/{index}.jpg").touch()
    assert main(["check", "job.yaml"]) == 0
    before = Path("job.yaml").read_text(encoding="utf-8")
    assert main(["init", "--arch", "vit_digits"]) == 2
    assert "job.yaml: the file exists already" in capsys.readouterr().err
    assert Path("job.yaml").read_text(encoding="utf-8") == before
    assert main(["init", "--arch", "vit_digits", "--force"]) == 0
    assert "vit_digits" in Path("job.yaml").read_text(encoding="utf-8")


def test_dash_is_the_screen(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["init", "-", "--name", "my-run"]) == 0
    assert "name: my-run\n" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.yaml"))


def test_schema_beside_it() -> None:
    assert main(["init", "a/job.yaml"]) == 2  # no such folder
    Path("a").mkdir()
    assert main(["init", "a/job.yaml", "--schema"]) == 0
    assert (
        Path("a/job.yaml")
        .read_text(encoding="utf-8")
        .startswith("# yaml-language-server: $schema=job.schema.json\n")
    )
    assert '"$schema"' in Path("a/job.schema.json").read_text(encoding="utf-8")


def test_unknown_names_are_answered_with_near_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--arch", "tnt_digit"]) == 2
    assert "tnt_digits" in capsys.readouterr().err
    assert main(["init", "--backend", "locl"]) == 2
    assert "did you mean local?" in capsys.readouterr().err


@pytest.mark.parametrize("arch", ["ViT-B/16", "vit base patch16 224"])
def test_the_name_of_the_job_is_always_allowed(arch: str) -> None:
    code = main(["init", "--arch", arch])
    assert code == (0 if Path("job.yaml").exists() else 2)
    if code == 0:
        assert main(["check", "job.yaml"]) == 0
