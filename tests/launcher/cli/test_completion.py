import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.cli import COMMANDS
from launcher.cli.completion import SCRIPTS, candidates
from tests.launcher.samples import Sample

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["st"], ["status"]),
        (["nonsense", ""], []),
        (["submit", ""], [":yaml"]),
        (["submit", "job.yaml", "--dr"], ["--dry-run"]),
        (["fetch-results", "last", "--only", "e"], ["eval", "export"]),
        (["fetch-results", "last", "--to", ""], [":folders"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["rank-table", "li"], ["lint"]),
        (["status", "--limit", ""], []),
    ],
)
def test_candidates(words: list[str], expected: list[str], launcher_home: Path) -> None:
    assert candidates(words, COMMANDS) == expected


def test_run_ids_newest_first(launcher_home: Path, tmp_path: Path) -> None:
    run_id = Sample(tmp_path).entry.run_id
    assert candidates(["status", ""], COMMANDS) == ["last", run_id]
    assert candidates(["explain", run_id[:8]], COMMANDS) == [run_id, ":yaml"]


@pytest.mark.parametrize("shell", SCRIPTS)
def test_scripts_are_right_for_their_shell(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"NOT TESTED: no {shell} here")
    script = tmp_path / "script"
    script.write_text(SCRIPTS[shell])
    subprocess.run([shell, "-n", str(script)], check=True)


def test_bash_completes_run_ids_and_job_files(launcher_home: Path, tmp_path: Path) -> None:
    run_id = Sample(tmp_path).entry.run_id
    (tmp_path / "folder").mkdir()
    program = f"""
        launcher() {{ PYTHONPATH={ROOT} {sys.executable} -m launcher "$@"; }}
        compopt() {{ :; }}
        {SCRIPTS["bash"]}
        try() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _launcher; echo "${{COMPREPLY[*]}}"; }}
        try launcher stat; try launcher status sam; try launcher submit jo; try launcher fetch-results last --to fo
    """
    done = subprocess.run(["bash", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["status", run_id, "job.yaml", "folder"]
