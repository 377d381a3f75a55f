"""One corner of the support matrix: does everything that the README's table promises with this Python and its MindSpore.

    PYTHON -m tests.matrix [FOLDER]

Without MindSpore only the base package and the node program are tried. Prints one line per part, and ends with 1 when one failed.
`make test-matrix` makes an environment for each corner and runs this in it.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECIPE = "vitmodels/configs/tnt_digits.yaml"
SHORT = ("--set", "batch_size=64", "--set", "warmup_length=1")
KERNELS = "VITMODELS_KERNELS"


class Failed(Exception):
    """A part did not do what it should."""


class Corner:
    """Runs the parts in a folder of their own, in order: later ones use what earlier ones left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            **os.environ,
            "LAUNCHER_HOME": str(folder / "home"),
            "LAUNCHER_LOCK_DIR": str(folder / "locks"),
            "LAUNCHER_NO_AGENCY": "1",
            "PYTHONPATH": str(ROOT),
        }

    def call(self, *words: str, **env: str) -> str:
        """What `python -m WORDS` wrote to stdout."""
        done = subprocess.run(
            [sys.executable, "-m", *words],
            env={**self.env, **env},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Failed(
                f"{' '.join(words)}: exit {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
            )
        return done.stdout

    def base(self) -> str:
        """check, dry run, rank table; a program of one's own, run by the node program; status, fetch, report."""
        job, results = self.folder / "job.yaml", self.folder / "results"
        program = [sys.executable, str(ROOT / "tests" / "programs" / "counter.py")]
        content = {"name": "counter", "program": program, "output": {"url": str(self.folder / "own-runs")}}
        job.write_text(json.dumps(content))
        self.call("launcher", "check", str(job), "jobs/tnt_s_8p.yaml")
        self.call("launcher", "submit", "jobs/tnt_s_modelarts.yaml", "--dry-run")
        self.call("launcher", "rank-table", "lint", "rank_tables/hccl_8p.json")
        run = self.call("launcher", "submit", str(job), "--follow").strip()
        state = json.loads(self.call("launcher", "status", run, "--json"))["state"]
        self.call("launcher", "fetch-results", run, "--to", str(results))
        self.call("launcher", "report", run, "--out", str(self.folder / "report.html"))
        top1 = json.loads((results / "eval" / "last.json").read_text())["top1"]
        if (state, top1) != ("SUCCEEDED", 0.021):
            raise Failed(f"{state}, {top1}")
        return f"{state}, results fetched"

    def container(self) -> str:
        """The entry of a ModelArts container: boot file, code, and the program that it becomes, which finds no run."""
        from launcher.backends.modelarts.code import make_archive
        from launcher.submission.prepare import prepare

        plan = prepare(ROOT / "jobs" / "digits_tnt_modelarts.yaml").plan
        boot = self.folder / "boot.py"
        boot.write_bytes((ROOT / "launcher" / "backends" / "modelarts" / "boot.py").read_bytes())
        words = ["--run", str(self.folder / "no-run"), "--attempt", "1"]
        words += ["--code", make_archive(plan, self.folder).digest]
        env = {**self.env, "MA_MOUNT_PATH": str(self.folder / "mount"), "PYTHONPATH": ""}
        command = [sys.executable, str(boot), *words]
        done = subprocess.run(command, env=env, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode != 4 or "plan.json" not in done.stderr:
            raise Failed(f"exit {done.returncode}\n{done.stdout}{done.stderr}")
        return "the container's program runs"

    def whole_run(self) -> str:
        """train on two ranks, evaluate, export and evaluate the export, by a job of launcher."""
        self.call("vitmodels.digits", str(self.folder / "digits"))
        url = ("--set", f"data.url={self.folder / 'digits'}", "--set", f"output.url={self.folder / 'runs'}")
        job = ("jobs/digits_tnt_2p.yaml", "--follow", *url, *SHORT, "--set", "epochs=2")
        run = self.call("launcher", "submit", *job).strip()
        view = json.loads(self.call("launcher", "status", run, "--json"))
        results = view["results"]
        if view["state"] != "SUCCEEDED" or len(set(results.values())) != 1 or results["last"] < 0.2:
            raise Failed(f"{view['state']}, {results}")
        return f"top-1 {results['last']:.3f} by training, checkpoint and MINDIR"

    def resume(self) -> str:
        """One epoch, then a second one in the same folder."""
        self._train("run", 1)
        self._train("run", 2)
        return f"losses {', '.join(f'{loss:.4f}' for loss in self._losses('run', 2))}"

    def operators(self) -> str:
        """The same without the compiled operators, in one go."""
        self._train("slow", 2, **{KERNELS: "0"})
        fast, slow = self._losses("run", 2), self._losses("slow", 2)
        if any(abs(a - b) > 0.02 * abs(b) for a, b in zip(fast, slow, strict=True)):
            raise Failed(f"with compiled operators {fast}, without {slow}")
        return "the same losses without"

    def _train(self, name: str, epochs: int, **env: str) -> None:
        data, run_dir = str(self.folder / "digits"), str(self.folder / name)
        words = ("--config", RECIPE, "--data", data, "--run-dir", run_dir, "--device", "cpu", *SHORT)
        self.call("vitmodels.train", *words, "--set", f"epochs={epochs}", **env)

    def _losses(self, name: str, epochs: int) -> list[float]:
        lines = (self.folder / name / "metrics.jsonl").read_text().splitlines()
        losses = [float(json.loads(line)["loss"]) for line in lines]
        if len(losses) != epochs:
            raise Failed(f"{len(losses)} epochs in {name}, not {epochs}")
        return losses


def mindspore_version() -> str:
    try:
        return version("mindspore")
    except PackageNotFoundError:
        return ""


def main() -> int:
    corner = f"Python {platform.python_version()}, MindSpore {mindspore_version() or 'not installed'}"
    print(corner, flush=True)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="launcher-matrix-", dir=next(iter(sys.argv[1:]), None)) as folder:
        parts = Corner(Path(folder))
        todo: dict[str, Callable[[], str]] = {
            "base package, node program": parts.base,
            "entry of a container": parts.container,
        }
        if mindspore_version():
            todo["train on 2 ranks, evaluate, export"] = parts.whole_run
            todo["resume"] = parts.resume
            todo["compiled operators on and off"] = parts.operators
        for name, part in todo.items():
            started = time.monotonic()
            try:
                text = part()
            except Failed as error:
                failed, text = failed + 1, f"FAILED: {error}"
            print(f"  {name}: {text} ({time.monotonic() - started:.0f} s)", flush=True)
    print(f"{len(todo) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
