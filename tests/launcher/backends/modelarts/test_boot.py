"""The boot file: verifies, unpacks and starts the code of a job, installs what it asks for."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from launcher.backends.modelarts.code import make_archive
from tests.launcher.backends.modelarts.jobs import IMAGE, make

pytestmark = pytest.mark.system


BOOT = Path(__file__).parents[4] / "launcher" / "backends" / "modelarts" / "boot.py"


def boot(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "MA_MOUNT_PATH": str(tmp_path / "mount"), "PYTHONPATH": ""}
    command = [sys.executable, str(tmp_path / "code" / "boot.py"), *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=tmp_path)


def test_the_boot_file_verifies_unpacks_and_starts_what_it_unpacked(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "boot.py").write_bytes(BOOT.read_bytes())
    snapshot = make_archive(make(tmp_path), tmp_path / "code")
    common = ("--run", str(tmp_path / "run"), "--attempt", "1", "--data_url=/x")
    wrong = boot(tmp_path, *common, "--code", "0" * 64)
    assert wrong.returncode == 2
    assert "is not the code of this job" in wrong.stderr
    assert list((tmp_path / "mount" / "ascend-launcher").iterdir()) == [
        tmp_path / "mount" / "ascend-launcher" / ".lock"
    ]
    done = boot(tmp_path, *common, "--code", snapshot.digest)
    assert done.returncode == 4, (
        done.stderr
    )  # launcher.backends.modelarts.container runs, and finds no run there
    assert "plan.json" in done.stderr
    assert (
        tmp_path / "mount" / "ascend-launcher" / snapshot.digest[:32] / "launcher" / "node" / "program.py"
    ).exists()


def wheel(folder: Path) -> None:
    """A package of one module, as pip takes it."""
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as file:
        file.writestr("tiny.py", "WORD = 'here'\n")
        info = "tiny-1.0.dist-info"
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")


def test_the_boot_file_installs_what_the_job_asks_for_and_only_once(tmp_path: Path) -> None:
    """With pip itself, and a folder in place of an index."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "boot.py").write_bytes(BOOT.read_bytes())
    wanted = ["--no-index", f"--find-links={tmp_path}", "tiny==1.0"]
    snapshot = make_archive(make(tmp_path, modelarts={**IMAGE, "requirements": wanted}), tmp_path / "code")
    words = ("--run", str(tmp_path / "run"), "--attempt", "1", "--code", snapshot.digest)
    failed = boot(tmp_path, *words)
    assert (failed.returncode, "pip ended with 1" in failed.stderr) == (2, True), failed.stderr
    wheel(tmp_path)
    done = boot(tmp_path, *words)  # what failed before is tried again
    assert (done.returncode, "installing what" in done.stdout) == (4, True), done.stderr
    folder = tmp_path / "mount" / "ascend-launcher" / snapshot.digest[:32]
    assert (folder / "site" / "tiny.py").exists()
    again = boot(tmp_path, *words)
    assert (again.returncode, again.stdout) == (4, "")


def test_words_of_the_platform_are_not_taken_for_ours_and_scripts_stay_scripts(tmp_path: Path) -> None:
    """`--co` is no short form of `--code`."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "boot.py").write_bytes(BOOT.read_bytes())
    own = tmp_path / "mine"
    own.mkdir()
    (own / "go.sh").write_text("#!/bin/sh\n")
    (own / "go.sh").chmod(0o700)
    (own / "data.txt").write_text("")
    snapshot = make_archive(make(tmp_path, modelarts={**IMAGE, "code": ["mine"]}), tmp_path / "code")
    done = boot(tmp_path, "--run=x", "--attempt=1", f"--code={snapshot.digest}", "--co=/y", "--r=1", "--p=2")
    assert done.returncode == 4, done.stderr
    folder = tmp_path / "mount" / "ascend-launcher" / snapshot.digest[:32] / "code" / "mine"
    assert [os.access(folder / name, os.X_OK) for name in ("go.sh", "data.txt")] == [True, False]


def test_a_missing_code_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "boot.py").write_bytes(BOOT.read_bytes())
    done = boot(tmp_path, "--run", "x", "--attempt", "1", "--code", "0" * 64)
    assert (done.returncode, "did not arrive" in done.stderr) == (2, True)
