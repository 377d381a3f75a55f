"""Ranks get the environment of the shell that submits, without the credentials of stores and clouds."""

import os
import sys
from pathlib import Path

import pytest
import yaml

from launcher.api import submit
from launcher.cli import main
from launcher.errors import LauncherError
from launcher.runfolder.states import State
from tests.waiting import PATIENCE_S
from vitmodels.secrets import mask, opens_store

CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "HUAWEICLOUD_SDK_AK",
    "HUAWEICLOUD_SDK_SK",
    "HUAWEICLOUD_SDK_CREDENTIALS_FILE",
    "OBS_SECRET_ACCESS_KEY",
    "OS_PASSWORD",
    "ACCESS_KEY_ID",
    "SECRET_ACCESS_KEY",
    "S3_SECRET_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "RCLONE_CONFIG_PASS_COMMAND_TOKEN",
    "KUBECONFIG",
    "LAUNCHER_SIGNING_KEY",
)
OTHERS = (
    "AWS_REGION",
    "AWS_ENDPOINT_URL",
    "WANDB_API_KEY",
    "PATH",
    "HOME",
    "HCCL_WHITELIST_DISABLE",
    "OS_NAME",
)


@pytest.mark.parametrize("name", CREDENTIALS)
def test_a_credential_is_known(name: str) -> None:
    assert opens_store(name)


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_credential_of_a_store_stays(name: str) -> None:
    assert not opens_store(name)


def job_that_prints_names(folder: Path, **sections: object) -> Path:
    program = folder / "names.py"
    program.write_text("import os\nprint('names:', *sorted(os.environ))\n")
    job = {
        "name": "names",
        "program": [sys.executable, str(program)],
        "output": {"url": str(folder / "runs")},
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump({**job, "requires": [], **sections}))
    return path


def names_in(job: Path) -> set[str]:
    run = submit(job)
    assert run.wait(PATIENCE_S).state is State.SUCCEEDED
    (line,) = [line.text for line in run.logs(rank=0) if line.text.startswith("names: ")]
    return set(line.split()[1:])


@pytest.mark.system
def test_a_rank_gets_credentials_only_by_name(
    launcher_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*CREDENTIALS, "WANDB_API_KEY"):
        monkeypatch.setenv(name, "a-value-of-twenty-characters")
    found = names_in(job_that_prints_names(tmp_path))
    assert found.isdisjoint(CREDENTIALS)
    assert {"WANDB_API_KEY", "PATH"} <= found
    found = names_in(job_that_prints_names(tmp_path, env_from=["AWS_SESSION_TOKEN", "NOT_SET"]))
    assert found & set(CREDENTIALS) == {"AWS_SESSION_TOKEN"}
    assert "NOT_SET" not in found


def test_env_from_takes_names_only(launcher_home: Path, tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match="is no name"):
        submit(job_that_prints_names(tmp_path, env_from=["AWS_SECRET_ACCESS_KEY=x"]))


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_printed_plan_stars_out_secrets(
    form: list[str], launcher_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = job_that_prints_names(tmp_path)
    words = [
        "--api-key=hunter2",
        "--token",
        "hunter2 hunter2",
        "--header",
        "Authorization: Bearer hunter2",
        "http://user:hunter2@host/x",
        "password=hunter2",
        "--plain",
        "seen",
    ]
    value = yaml.safe_load(job.read_text())
    job.write_text(yaml.safe_dump({**value, "program": [*value["program"], *words]}))
    assert main(["submit", str(job), "--dry-run", *form]) == 0
    shown = capsys.readouterr().out
    assert "hunter2" not in shown
    assert "seen" in shown


@pytest.mark.parametrize(
    "text",
    [
        "secretKeyRef:\n  name: run-x",
        '{"secretKeyRef": {"name": "run-x"}}',
        "secretName: run-x",
        "automountServiceAccountToken: false",
        "tokens: [1, 2]",
    ],
)
def test_masking_keeps_a_manifest_whole(text: str) -> None:
    assert mask(text) == text


def test_masking_leaves_ordinary_options_alone() -> None:
    text = "python train.py --epochs 3 --lr 1e-3 --tokens-per-step -1 --keyboard x --output=runs"
    assert mask(text) == text
    assert os.environ["PATH"]
