"""The launcher in a process of its own, as somebody at a shell calls it."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from tests.waiting import PATIENCE_S

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

    def __call__(
        self, *words: str, timeout_s: float = PATIENCE_S, **env: str
    ) -> subprocess.CompletedProcess[str]:
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


def refused(shell: Shell, code: int, *words: str, **env: str) -> str:
    """Runs a command that must be refused; its message, after the checks that hold for every refusal."""
    done = shell(*words, **env)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert shell.left_behind() == []
    return done.stderr
