"""Addresses in job files: variables of the submission, and what the console of OBS shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from launcher.jobfile.console import obs_address
from launcher.jobfile.load import JobFileError, LoadedJob, load_job
from launcher.jobfile.spec import JobSpec
from launcher.jobfile.variables import ADDRESSES, VariableError, expanded

ENV = {"BUCKET": "pets", "WHO": "ann", "EMPTY": "", "CACHE": "/cache", "WANDB_API_KEY": "k-123"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(text: str, *overrides: str) -> LoadedJob:
    Path("job.yaml").write_text(f"name: a\nmodel: {{arch: tnt_digits}}\n{text}\n", encoding="utf-8")
    return load_job("job.yaml", overrides=overrides, env=ENV, defaults_file=Path("defaults.yaml"))


def failure(text: str, *overrides: str) -> str:
    with pytest.raises(JobFileError) as caught:
        load(text, *overrides)
    return str(caught.value)


def test_variables_of_addresses_are_expanded(folder: Path) -> None:
    job = load(
        "data: {url: 'obs://$BUCKET/digits', cache_dir: '${CACHE}/${WHO}'}\n"
        'output: {url: "obs://${BUCKET}/runs_$WHO"}\n'
        "modelarts: {inputs: {extra: 'obs://$BUCKET/x'}, code: ['$CACHE/code'], "
        "volumes: [{sfs: 'host:/$WHO', mount: /mnt}]}",
        "slurm.log=$CACHE/%j.log",
    )
    assert (job.spec.data.url, job.spec.data.cache_dir) == ("obs://pets/digits", "/cache/ann")
    assert job.spec.output.url == "obs://pets/runs_ann"
    assert job.spec.modelarts.inputs == {"extra": "obs://pets/x"}
    assert job.spec.modelarts.code == ("/cache/code",)
    assert job.spec.modelarts.volumes[0].sfs == "host:/ann"
    assert job.spec.slurm.log == "/cache/%j.log"
    assert "$BUCKET" in job.source_text, "the file is stored as it was written"


def test_other_texts_are_left_to_their_shell(folder: Path) -> None:
    job = load("data: {url: d}\nenv: {HCCL_X: $NOBODY}\nslurm: {setup: ['export A=$NOBODY']}")
    assert job.spec.env == {"HCCL_X": "$NOBODY"}
    assert job.spec.slurm.setup == ("export A=$NOBODY",)


@pytest.mark.parametrize(
    ("url", "message", "hint"),
    [
        ("$BUCKETS/x", "the variable $BUCKETS is not set", "did you mean $BUCKET?"),
        ("obs://$NOWHERE/x", "the variable $NOWHERE is not set", "export NOWHERE="),
        ("obs://${EMPTY}/x", "the variable $EMPTY is empty", "export EMPTY="),
        ("obs://$WANDB_API_KEY/x", "$WANDB_API_KEY looks like a secret", "leave it out"),
        ("obs://${AWS_SECRET_ACCESS_KEY}/x", "$AWS_SECRET_ACCESS_KEY looks like a secret", "leave it out"),
        ("${WHO:-ann}/x", "'${WHO:-ann}' names no variable", "${NAME}"),
        ("${WHO/x", "'${' names no variable", "${NAME}"),
    ],
)
def test_a_variable_that_has_no_value_is_an_error_with_its_place(
    folder: Path, url: str, message: str, hint: str
) -> None:
    found = failure(f"data:\n  url: '{url}'")
    assert found.startswith("job.yaml:4:8: data.url: ")
    assert message in found
    assert hint in found
    assert "k-123" not in found


def test_a_place_is_named_for_options_too(folder: Path) -> None:
    assert failure("data: {url: d}", "output.url=$NOWHERE/x").startswith("--set output.url=$NOWHERE/x")


@pytest.mark.parametrize(
    ("text", "value"),
    [("a$$b", "a$b"), ("cost$", "cost$"), ("$1", "$1"), ("$WHO$BUCKET", "annpets"), ("${WHO}s", "anns")],
)
def test_forms(text: str, value: str) -> None:
    assert expanded(text, ENV) == value


def test_a_value_is_not_expanded_again() -> None:
    assert expanded("$A", {"A": "$B", "B": "x"}) == "$B"
    with pytest.raises(VariableError):
        expanded("$A$B", {"A": "x"})


def test_every_field_of_the_list_exists() -> None:
    for name in ADDRESSES:
        section: type[BaseModel] = JobSpec
        head, _, last = name.partition(".")
        annotation = section.model_fields[head].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        assert last.partition("[")[0].partition(".")[0] in annotation.model_fields, name


def test_every_url_of_a_job_file_is_in_the_list() -> None:
    urls = {
        f"{name}.{key}"
        for name, section in JobSpec.model_fields.items()
        if isinstance(section.annotation, type) and issubclass(section.annotation, BaseModel)
        for key in section.annotation.model_fields
        if key in ("url", "endpoint", "checkpoint", "config", "ca_bundle", "python", "log")
        or key.endswith("_dir")
    }
    urls -= {"modelarts.python"}  # the name of a program in the image
    assert urls <= set(ADDRESSES)


def test_a_home_folder_may_hold_the_recipe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    (folder / "mine.yaml").write_text("arch: tnt_digits\nepochs: 7\n")
    Path("job.yaml").write_text("name: a\nmodel: {config: ~/mine.yaml}\ndata: {url: d}\n")
    job = load_job("job.yaml", env=ENV, defaults_file=Path("defaults.yaml"))
    assert job.recipe is not None
    assert job.recipe.epochs == 7


CONSOLE = [
    ("https://pets.obs.cn-north-4.myhuaweicloud.com/train/a.jpg", "obs://pets/train/a.jpg", "cn-north-4"),
    ("http://pets.obs.cn-north-4.myhuaweicloud.com", "obs://pets", "cn-north-4"),
    ("pets.obs.cn-north-4.myhuaweicloud.com/train/", "obs://pets/train", "cn-north-4"),
    ("obs://pets.obs.cn-north-4.myhuaweicloud.com/train", "obs://pets/train", "cn-north-4"),
    ("https://my.pets.obs.eu-west-101.myhuaweicloud.eu/x", "obs://my.pets/x", "eu-west-101"),
    ("https://obs.cn-east-3.myhuaweicloud.com/pets/train", "obs://pets/train", "cn-east-3"),
    ("https://pets.obs.myhuaweicloud.com/train", "obs://pets/train", ""),
    ("https://pets.obs.eu-de.otc.t-systems.com/train", "obs://pets/train", "eu-de"),
    ("HTTPS://pets.OBS.cn-north-4.myhuaweicloud.com:443/T%20x", "obs://pets/T x", "cn-north-4"),
]


@pytest.mark.parametrize(("text", "url", "region"), CONSOLE)
def test_an_address_of_the_console_is_refused_with_the_form_to_type(
    folder: Path, text: str, url: str, region: str
) -> None:
    address = obs_address(text)
    assert address is not None
    assert (address.url, address.region) == (url, region)
    for section in ("data", "output"):
        rest = "" if section == "data" else "data: {url: d}\n"
        found = failure(f"{rest}{section}: {{url: '{text}'}}")
        assert f"write {url}" in found
        assert region in found


def test_a_signed_address_of_the_console_keeps_its_signature_to_itself(folder: Path) -> None:
    url = "https://pets.obs.cn-north-4.myhuaweicloud.com/a?AccessKeyId=AK1&Expires=9&Signature=s3cr3t"
    found = failure(f"data: {{url: '{url}'}}")
    assert "write obs://pets/a " in found
    assert "s3cr3t" not in found


@pytest.mark.parametrize(
    "text",
    [
        "obs://pets/train",
        "obs://obs.pets/x",
        "data/obs.d",
        "https://obs.example.com/x",
        "file:///obs",
        "s3://b/k",
    ],
)
def test_other_addresses_are_none_of_the_console(text: str) -> None:
    assert obs_address(text) is None


def test_channels_of_modelarts_refuse_it_too(folder: Path) -> None:
    found = failure(
        "data: {url: d}\nmodelarts: {inputs: {extra: 'https://pets.obs.cn-north-4.myhuaweicloud.com/x'}}"
    )
    assert "write obs://pets/x" in found
