"""The command line as a user meets it: a process, its exit code, its words, and what it leaves behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import launcher
from launcher.cli import COMMANDS
from tests.launcher.cli.shell import COUNTER, Shell, refused

pytestmark = pytest.mark.system


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


RUN = """
import sys
from launcher.cli import main

code = main(sys.argv[2:])
sys.stderr.write(f"{code}|{sys.argv[1] in sys.modules}")
"""


@pytest.mark.parametrize(
    ("package", "words"), [("pydantic", "cp from to"), ("pydantic", "ls from"), ("yaml", "status")]
)
def test_commands_load_no_library_that_they_do_not_need(package: str, words: str, tmp_path: Path) -> None:
    """pydantic takes a third of the time of a short command, YAML a twentieth."""
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "x").write_text("x")
    command = [sys.executable, "-c", RUN, package, *words.split()]
    env = {**os.environ, "LAUNCHER_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env, cwd=tmp_path)
    assert done.stderr.endswith("0|False")


ENDS = """
import gc, sys
from launcher.cli import main
from vitmodels.program import end

sys.argv = ["launcher", "--version"]
frozen = [gc.get_freeze_count(), main(sys.argv[1:]), gc.get_freeze_count(), main(), gc.get_freeze_count()]
assert frozen[0] == frozen[2] < frozen[4], frozen
gc.unfreeze()
try:
    end(3)
except SystemExit as ended:
    assert ended.code == 3 and gc.get_freeze_count()
"""


def test_the_end_of_a_process_looks_for_no_cycles_and_main_in_another_program_freezes_nothing() -> None:
    subprocess.run([sys.executable, "-c", ENDS], check=True)


def test_logs_are_chosen_by_rank_text_and_error(shell: Shell) -> None:
    job = shell.job(
        program=[sys.executable, str(COUNTER)],
        data={},
        model={},
        resources={"devices_per_node": 2},
        env={"FAIL_AT": "2:1:raise"},
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


def test_the_version(shell: Shell) -> None:
    done = shell("--version")
    assert (done.returncode, done.stdout) == (0, f"launcher {launcher.__version__}\n")
