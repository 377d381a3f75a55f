"""The command line as a user meets it: a process, its exit code, its words, and what it leaves behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import launcher
from launcher.cli import COMMANDS

pytestmark = pytest.mark.system

COUNTER = Path(__file__).parents[2] / "programs" / "counter.py"


class Shell:
    def __init__(self, home: Path, cwd: Path) -> None:
        self.env = {
            key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "LAUNCHER_SET_"))
        }
        self.env |= {
            "LAUNCHER_HOME": str(home),
            "LAUNCHER_LOCK_DIR": str(cwd / "locks"),
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.home = home
        self.cwd = cwd

    def __call__(self, *words: str, timeout_s: float = 60.0, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "launcher", *words]
        return subprocess.run(
            command,
            env=self.env | env,
            cwd=self.cwd,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def job(self, **changes: object) -> str:
        images = self.cwd / "images"
        for part in ("train", "val"):
            (images / part / "one").mkdir(parents=True, exist_ok=True)
            (images / part / "one" / "a.jpg").write_bytes(b"not read by any test here")
        job = {
            "name": "trial",
            "model": {"config": "vitmodels/configs/tnt_digits.yaml"},
            "data": {"url": "images", "train_images": 1437},
            "output": {"url": "runs"},
            "local": {"python": sys.executable},
        }
        for key, value in changes.items():
            job[key] = (
                {**job[key], **value} if isinstance(value, dict) and isinstance(job.get(key), dict) else value
            )
        path = self.cwd / "job.yaml"
        path.write_text(yaml.safe_dump(job, sort_keys=False))
        return "job.yaml"

    def left_behind(self) -> list[str]:
        found = [
            path for folder in ("home", "runs") for path in (self.cwd / folder).rglob("*") if path.is_file()
        ]
        return sorted(str(path) for path in found)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path / "home", tmp_path)


def refused(shell: Shell, code: int, *words: str, **env: str) -> str:
    """Runs a command that must be refused; its message, after the checks that hold for every refusal."""
    done = shell(*words, **env)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert shell.left_behind() == []
    return done.stderr


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


@pytest.mark.parametrize(
    "command", ["status", "logs", "cancel", "wait", "attach", "resume", "retry", "explain", "report"]
)
def test_a_run_that_does_not_exist(shell: Shell, command: str) -> None:
    assert "no run 'trial-1'" in refused(shell, 3, command, "trial-1")


def test_fetching_from_a_run_that_does_not_exist(shell: Shell) -> None:
    refused(shell, 3, "fetch-results", "trial-1", "--to", "there")
    assert not (shell.cwd / "there").exists()


def test_an_unknown_command_names_the_nearest(shell: Shell) -> None:
    assert "did you mean 'submit'" in refused(shell, 2, "sumbit")


def test_a_back_end_nobody_knows(shell: Shell) -> None:
    assert "expected" in refused(shell, 2, "submit", shell.job(), "--backend", "cloud")


def test_help_names_every_command_and_exit_code(shell: Shell) -> None:
    done = shell("--help")
    for word in ("submit", "status", "logs", "fetch-results", "cancel", "check", "wait", "100", "103"):
        assert word in done.stdout


def test_a_dry_run_touches_nothing(shell: Shell) -> None:
    done = shell("submit", shell.job(), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "nothing was started" in done.stdout
    assert shell.left_behind() == []


def test_submit_status_wait_logs_fetch(shell: Shell) -> None:
    job = shell.job(program=[sys.executable, str(COUNTER)], data={}, model={})
    done = shell("submit", job, "--json")
    assert done.returncode == 0, done.stderr
    submitted = json.loads(done.stdout)
    assert {"run_id", "backend", "url"} <= submitted.keys()
    assert shell("wait", "last", "--timeout", "60").returncode == 0
    view = json.loads(shell("status", submitted["run_id"][:12], "--json").stdout)
    expected = {
        "run_id",
        "name",
        "backend",
        "state",
        "phase",
        "attempt",
        "reason",
        "progress",
        "nodes",
        "url",
    }
    assert expected <= view.keys()
    assert {"epoch", "epochs", "step", "steps", "loss", "images_per_s", "eta_s"} <= view["progress"].keys()
    assert view["state"] == "SUCCEEDED"
    assert [one["run_id"] for one in json.loads(shell("status", "--json").stdout)] == [submitted["run_id"]]
    assert "node-0/rank-0 | rank 0 of 1 starts after step 0" in shell("logs", "last").stdout
    fetched = shell("fetch-results", "last", "--to", "there")
    assert fetched.returncode == 0, fetched.stderr
    assert json.loads((shell.cwd / "there" / "eval" / "last.json").read_text())["top1"] == 0.021


def test_a_run_is_found_by_its_url_from_another_machine(shell: Shell, tmp_path: Path) -> None:
    job = shell.job(program=[sys.executable, str(COUNTER)], data={}, model={})
    url = json.loads(shell("submit", job, "--json").stdout)["url"]
    assert shell("wait", "last").returncode == 0
    other = Shell(tmp_path / "other-home", tmp_path)
    (tmp_path / "home").rename(tmp_path / "gone")  # index, work folder and all
    assert json.loads(other("status", url, "--json").stdout)["state"] == "SUCCEEDED"
    assert other("fetch-results", url, "--to", "there").returncode == 0
    assert "rank 0 of 1" in other("logs", url).stdout


def test_a_failed_run_has_its_exit_code_and_the_next_command(shell: Shell) -> None:
    job = shell.job(program=[sys.executable, str(COUNTER)], data={}, model={}, env={"FAIL_AT": "2:0:raise"})
    done = shell("submit", job, "--follow")
    assert done.returncode == 100
    assert "ValueError: no good at step 2" in done.stderr
    assert "launcher logs" in done.stderr
    assert shell("wait", "last").returncode == 100


HELP = """
import sys
from launcher.cli import main

try:
    main([sys.argv[1], "--help"])
except SystemExit:
    pass
loaded = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
sys.stderr.write(" ".join(sorted(loaded - {"__main__", "launcher"})) + f"|{len(sys.modules)}")
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_nothing_but_our_own_few_modules(command: str) -> None:
    """The costs of a start are its imports: --help takes 0.06 s with 92 to 97 modules, 0.3 s with pydantic and YAML."""
    python = [sys.executable, "-S", "-c", HELP, command]
    env = {**os.environ, "PYTHONPATH": str(Path(launcher.__file__).parents[1])}
    done = subprocess.run(python, capture_output=True, text=True, check=True, env=env)
    foreign, _, count = done.stderr.partition("|")
    assert foreign == ""
    assert int(count) < 130


def test_logs_are_chosen_by_rank_text_and_error(shell: Shell) -> None:
    job = shell.job(
        program=[sys.executable, str(COUNTER)],
        data={},
        model={},
        resources={"devices_per_node": 2},
        env={"FAIL_AT": "2:1:raise", "STEP_S": "1"},  # slow: ranks may start apart
    )
    assert shell("submit", job, "--follow").returncode == 100
    assert "rank 1 of 2" not in shell("logs", "last", "--rank", "0").stdout
    errors = shell("logs", "last", "--errors").stdout
    assert "node-0/rank-1 | ValueError: no good at step 2" in errors
    assert "starts after step" not in errors
    assert len(shell("logs", "last", "--tail", "2").stdout.splitlines()) == 2
    grep = shell("logs", "last", "--grep", "starts after", "-f")
    assert (grep.returncode, len(grep.stdout.splitlines())) == (0, 2)
    assert "--grep: not a regular expression" in shell("logs", "last", "--grep", "(").stderr
    assert "there are node-0/node, node-0/rank-0" in shell("logs", "last", "--rank", "7").stderr
    explained = shell("explain", "last")
    assert "who      rank 1 on" in explained.stdout
    assert "how      ended with exit code 1" in explained.stdout
    assert "launcher resume" in explained.stdout


def test_explain_of_a_job_file_lists_origins(shell: Shell) -> None:
    done = shell("explain", shell.job(), "--set", "epochs=3")
    assert "recipe.epochs = 3" in done.stdout
    assert "← --set epochs=3" in done.stdout
    assert "← job.yaml:1" in done.stdout


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


def test_the_version(shell: Shell) -> None:
    done = shell("--version")
    assert (done.returncode, done.stdout) == (0, f"launcher {launcher.__version__}\n")


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
