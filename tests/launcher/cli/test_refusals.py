"""What a person mistypes, or asks for that can't be: one clear error each, at a shell."""

import sys

import pytest

from tests.launcher.cli.shell import COUNTER, Shell, refused

pytestmark = pytest.mark.system


def test_a_missing_job_file(shell: Shell) -> None:
    assert "nowhere.yaml" in refused(shell, 2, "submit", "nowhere.yaml")


def test_a_mistyped_key_has_its_place_and_the_right_one(shell: Shell) -> None:
    shell.job(resorces={"nodes": 1})
    message = refused(shell, 2, "submit", "job.yaml")
    assert "job.yaml:11:1: resorces: " in message
    assert "resources" in message


def test_a_wrong_type_has_its_place_and_value(shell: Shell) -> None:
    message = refused(shell, 2, "submit", shell.job(model={"set": {"epochs": "ten"}}))
    assert "job.yaml:5:13: model.set.epochs: expected a whole number" in message
    assert "'ten'" in message


def test_an_unknown_arch_names_the_nearest(shell: Shell) -> None:
    message = refused(shell, 2, "submit", shell.job(model={"arch": "tnt_s_patch61_224"}))
    assert "job.yaml:4:9: model.arch: " in message
    assert "tnt_s_patch16_224" in message


def test_a_device_count_the_chip_does_not_allow(shell: Shell) -> None:
    message = refused(shell, 2, "submit", shell.job(resources={"device": "ascend910", "devices_per_node": 3}))
    assert "3" in message
    assert "1, 2, 4 or 8" in message


def test_data_that_are_not_there(shell: Shell) -> None:
    message = refused(shell, 4, "submit", shell.job(data={"url": "no/such/folder"}))
    assert "data.url" in message
    assert "no/such/folder" in message


def test_a_folder_without_train_and_val(shell: Shell) -> None:
    (shell.cwd / "flat").mkdir()
    (shell.cwd / "flat" / "a.jpg").write_bytes(b"x")
    message = refused(shell, 2, "submit", shell.job(data={"url": "flat"}))
    assert "neither train/ nor val/" in message


def test_a_store_that_does_not_answer(shell: Shell) -> None:
    job = shell.job(output={"url": "s3://bucket/runs", "endpoint": "http://127.0.0.1:9"})
    message = refused(shell, 4, "submit", job, AWS_ACCESS_KEY_ID="AK", AWS_SECRET_ACCESS_KEY="topsecret")
    assert "output.url" in message
    assert "127.0.0.1:9" in message
    assert "topsecret" not in message


def test_credentials_in_a_url(shell: Shell) -> None:
    message = refused(shell, 2, "submit", shell.job(output={"url": "s3://AK:topsecret@bucket/runs"}))
    assert "environment or" in message
    assert "topsecret" not in message


def test_a_secret_in_the_environment_section(shell: Shell) -> None:
    message = refused(shell, 2, "submit", shell.job(env={"AWS_SECRET_ACCESS_KEY": "topsecret"}))
    assert "looks like a secret" in message
    assert "topsecret" not in message


def test_no_room_for_checkpoints(shell: Shell) -> None:
    message = refused(shell, 2, "submit", shell.job(model={"set": {"keep_checkpoint_max": 1_000_000_000}}))
    assert "PF010" in message
    assert "free" in message


def test_an_endpoint_with_credentials(shell: Shell) -> None:
    job = shell.job(output={"url": "s3://bucket/runs", "endpoint": "https://AK:topsecret@obs.example.com"})
    message = refused(shell, 2, "submit", job)
    assert "output.endpoint" in message
    assert "topsecret" not in message


@pytest.mark.parametrize("name", ["WANDB_API_KEY", "MYSQL_PWD", "HF_AUTH", "HUAWEICLOUD_SDK_SK"])
def test_more_names_of_secrets(shell: Shell, name: str) -> None:
    message = refused(shell, 2, "submit", shell.job(env={name: "topsecret"}))
    assert "looks like a secret" in message
    assert "topsecret" not in message


@pytest.mark.parametrize(
    "url", ["s3:/bucket/x", "obs:bucket/x", "memory://x", "s3://bucket/x?Signature=topsecret"]
)
def test_urls_that_no_job_can_use(shell: Shell, url: str) -> None:
    assert "topsecret" not in refused(shell, 2, "submit", shell.job(output={"url": url}))


def test_store_and_work_folder_in_one(shell: Shell) -> None:
    assert "PF013" in refused(shell, 2, "submit", shell.job(output={"url": "work", "work_dir": "work"}))


def test_npus_that_are_not_here(shell: Shell) -> None:
    message = refused(shell, 2, "submit", shell.job(resources={"device": "ascend910"}))
    assert "this machine has 0" in message
    assert "--rehearse" in message


def test_a_home_that_is_a_file(shell: Shell) -> None:
    (shell.cwd / "file").write_text("")
    done = shell(
        "submit", shell.job(program=[sys.executable, str(COUNTER)], data={}, model={}), LAUNCHER_HOME="file"
    )
    assert done.returncode in (2, 4)
    assert "defect" not in done.stderr
    assert shell("status", LAUNCHER_HOME="file").returncode == 0


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["wait", "last", "--timeout", "nan"], "--timeout"),
        (["wait", "last", "--timeout", "-1"], "--timeout"),
        (["rank-table", "convert", "x.json", "--wait", "inf"], "--wait"),
        (["rank-table", "show", "x.json", "--servers", "-1"], "--servers"),
        (["rank-table", "lint", "x.json", "--ranks", "-3"], "--ranks"),
        (["ls", ""], "empty address"),
        (["doctor", "--url", ""], "--url"),
        (["cp", "nowhere", "elsewhere"], "nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_value_that_means_nothing(shell: Shell, words: list[str], place: str) -> None:
    assert place in refused(shell, 2, *words)
