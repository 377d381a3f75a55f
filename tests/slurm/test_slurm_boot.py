"""The first program on a node, on its own: what it says of a Python that lacks packages."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from launcher.plan.code import code_digest, code_zip

BOOT = Path(__file__).parents[2] / "launcher" / "backends" / "slurm" / "boot.py"


def boot(tmp_path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    run = tmp_path / "runs" / "run-1"
    run.mkdir(parents=True, exist_ok=True)
    (run / "code.zip").write_bytes(code_zip())
    (run / "plan.json").write_bytes(b"{}")
    facts = {
        "store": {"url": (tmp_path / "runs").as_uri()},
        "work_dir": str(tmp_path / "work"),
        "code": code_digest(),
        "packages": ["pydantic", "yaml"],
    }
    env = {
        "PATH": str(tmp_path),
        "LAUNCHER_BOOT": json.dumps(facts),
        "LAUNCHER_RUN": "run-1",
        "LAUNCHER_PLAN": hashlib.sha256(b"{}").hexdigest(),
        "LAUNCHER_COMMENT": "launcher:run-1",
        "LAUNCHER_SLURM_JOB": "7",
    }
    command = [sys.executable, *flags, str(BOOT)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_a_python_without_packages_is_named_with_one_line_of_pip(tmp_path: Path) -> None:
    done = boot(tmp_path, "-I", "-S")
    assert done.returncode == 78
    last = done.stderr.splitlines()[-1]
    assert f"pydantic, yaml not installed in {sys.executable}; " in last
    assert last.endswith("-m pip install 'pydantic>=2.10' 'pyyaml>=6'")
    assert "rich>=13 is not installed; without it: progress as plain lines" in done.stderr
    assert "boto3>=1.36 is not" not in done.stderr, "a folder that the nodes share needs none"


def test_a_python_with_all_of_them_goes_on_to_the_program_of_the_node(tmp_path: Path) -> None:
    done = boot(tmp_path)
    assert done.returncode not in (0, 78)
    assert "not installed" not in done.stderr
    assert "launcher/backends/slurm/node.py" in done.stderr or "SLURM" in done.stderr
