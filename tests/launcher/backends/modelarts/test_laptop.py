"""A laptop that only submits: the base package needs nothing that only Linux has, and says so of what does."""

import json
import os
import subprocess
import sys
from pathlib import Path, PureWindowsPath

import pytest
import yaml

from launcher.backends.modelarts import machines as modelarts_machines
from launcher.jobfile.load import load_job
from launcher.plan import machines as plan_machines
from launcher.plan import make, steps
from launcher.plan.make import make_plan
from launcher.runfolder import paths
from tests.launcher.backends.modelarts.site import Site

Answer = tuple[int, str, str]
ROOT = Path(__file__).parents[4]


def on_laptop(folder: Path, commands: dict[str, list[str]]) -> dict[str, Answer]:
    """What each command answered, by its name."""
    script = folder / "commands.json"
    script.write_text(json.dumps(list(commands.values())))
    done = subprocess.run(
        [sys.executable, "-m", "tests.fakes.laptop", str(script)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(commands, map(tuple, json.loads(done.stdout.splitlines()[-1])), strict=True))


def test_a_run_on_a_platform_from_beginning_to_end(site: Site, tmp_path: Path) -> None:
    job = str(site.file())
    table = str(tmp_path / "table.json")
    machines = tmp_path / "machines.yaml"
    machines.write_text("10.0.0.5: {0: 192.168.100.101}\n10.0.0.6: {0: 192.168.100.103}\n")
    answers = on_laptop(
        tmp_path,
        {
            "check": ["check", job],
            "dry run": ["submit", job, "--dry-run"],
            "generate": ["rank-table", "generate", "--addresses", str(machines), "-o", table],
            "lint": ["rank-table", "lint", table],
            "submit": ["submit", job],
            "wait": ["wait", "last"],
            "status": ["status", "last", "--json"],
            "logs": ["logs", "last"],
            "fetch-results": ["fetch-results", "last", "--to", str(tmp_path / "results")],
            "report": ["report", "last", "--out", str(tmp_path / "report.html")],
            "doctor": ["doctor", "--json"],
        },
    )
    for name, (code, out, err) in answers.items():
        assert code == 0, f"{name}: {out}\n{err}"
    assert json.loads(answers["status"][1])["state"] == "SUCCEEDED"
    assert json.loads((tmp_path / "results" / "eval" / "last.json").read_text())["top1"] == 0.021
    assert (tmp_path / "report.html").stat().st_size > 0


@pytest.mark.system
def test_what_needs_linux_says_so(tmp_path: Path, launcher_home: Path) -> None:
    job = tmp_path / "job.yaml"
    content = {
        "name": "here",
        "program": ["python3", "-c", "pass"],
        "output": {"url": str(tmp_path / "runs")},
    }
    job.write_text(yaml.safe_dump(content))
    answers = on_laptop(
        tmp_path,
        {
            "submit": ["submit", str(job)],
            "rehearse": ["submit", str(job), "--rehearse"],
        },
    )
    for code, out, err in answers.values():
        assert (code, out) == (2, "")
        (line,) = [line for line in err.splitlines() if "Linux" in line and "error" in line]
        assert "'local'" in line
        assert "fcntl" in line


def test_a_node_program_says_so_too() -> None:
    code = "from tests.fakes.laptop import hide; hide(); import launcher.node.__main__"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "runs on Linux only" in done.stderr


class LaptopPath(PureWindowsPath):
    """Windows' paths, as far as a plan is made of them."""

    def expanduser(self) -> "LaptopPath":
        return self

    def absolute(self) -> "LaptopPath":
        return self.resolve()

    def resolve(self) -> "LaptopPath":
        return self if self.drive else LaptopPath("C:/") / self


@pytest.mark.skipif(os.sep != "/", reason="shows another system's paths")
def test_paths_of_a_plan_are_posix(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    job = load_job(
        site.file(
            program=None,
            model={"arch": "tnt_s_patch16_224"},
            data={"url": "obs://bucket/data", "cache_dir": "/cache/d"},
        )
    )
    for module in (make, plan_machines, steps, modelarts_machines):
        monkeypatch.setattr(module, "Path", LaptopPath, raising=False)
    cwd = LaptopPath("C:/Users/me")
    machines = modelarts_machines.containers_of(job.spec, cwd)  # type: ignore[arg-type]
    plan = make_plan(job.spec, job.recipe, machines, run_id="r-20260101-000000-abcd", cwd=cwd)  # type: ignore[arg-type]
    assert "\\" not in plan.text()
    assert plan.cache_dir == "/cache/d"
    assert plan.work_dir == "/cache/ascend-launcher/work"
    assert str(paths.RunDir(Path(plan.work_dir)).root) == plan.work_dir
