"""Four ways to start the same training on this machine, all with a mark in the environment of what they start."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.programs import ROOT
from benchmarks.models import CannotRun
from launcher.node.processes import free_port
from launcher.ranks.orphans import MARK, sweep

CONFIG = ROOT / "vitmodels" / "configs" / "vit_digits.yaml"
SETTINGS = {
    "epochs": 1000,
    "eval_every": 1000,
    "save_every": 1000,
    "save_every_steps": 5,
    "keep_checkpoint_max": 2,
}
CACHE = ("MS_COMPILER_CACHE_ENABLE", "MS_COMPILER_CACHE_PATH")


@dataclass(frozen=True)
class Place:
    """Where a training is started: `folder` is new for each start, `caches` are those of earlier starts of the same way."""

    folder: Path
    caches: Path
    data: Path
    ranks: int

    @property
    def mark(self) -> str:
        """What the marks of all processes of this start begin with; the name of the job, too."""
        return f"bench{os.getpid()}-{self.folder.name}"

    def env(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The shell of whoever starts it: the same Python, no caches but `caches`."""
        inherited = {key: value for key, value in os.environ.items() if key not in CACHE}
        return {
            **inherited,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "LAUNCHER_HOME": str(self.caches / "home"),
            "LAUNCHER_LOCK_DIR": str(self.folder / "locks"),
            "XDG_CACHE_HOME": str(self.caches / "user"),
            MARK: self.mark,
            **(extra or {}),
        }


@dataclass
class Start:
    """A training that has been started. `progress` is the folder of its events."""

    way: str
    place: Place
    popen: subprocess.Popen[bytes]
    begun: float
    progress: Path
    log: Path
    cpu_before: float = 0.0
    """Seconds of a core of processes that have ended."""

    def failure(self) -> CannotRun | None:
        """Why there will be no step; None while the processes live."""
        if self.popen.poll() in (None, 0):
            return None
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return CannotRun(
            self.way, lines[-1] if lines else f"exit code {self.popen.returncode} without a word"
        )

    def end(self) -> None:
        """Kill everything that was started."""
        sweep(self.place.mark)
        self.popen.wait()


def start(way: str, place: Place) -> Start:
    """Start a training. Raises CannotRun."""
    place.folder.mkdir(parents=True)
    for folder in (place.caches / "home", place.caches / "user"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if way == "launcher":
        return _with_launcher(place)
    cached = way.endswith("+cache")
    env = place.env(dict(zip(CACHE, ("1", str(place.caches / "graphs")), strict=True)) if cached else None)
    run_dir = place.folder / "run"
    words = [
        "-m",
        "vitmodels.train",
        "--config",
        str(CONFIG),
        "--data",
        str(place.data),
        "--run-dir",
        str(run_dir),
    ]
    words += [
        "--device",
        "cpu",
        *(word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")),
    ]
    command = _msrun(place, words) if way.startswith("msrun") else _shell_loop(place, words)
    return _started(way, place, command, env, run_dir / "progress")


def _started(way: str, place: Place, command: list[str], env: Mapping[str, str], progress: Path) -> Start:
    log = place.folder / "console.log"
    begun = time.time()
    with log.open("wb") as file:
        try:
            popen = subprocess.Popen(
                command, env=env, cwd=place.folder, stdout=file, stderr=file, stdin=subprocess.DEVNULL
            )
        except OSError as error:
            raise CannotRun(way, f"{command[0]}: {error.strerror}") from error
    return Start(way, place, popen, begun, progress, log)


def _msrun(place: Place, words: list[str]) -> list[str]:
    count = place.ranks
    return [
        "msrun",
        f"--worker_num={count}",
        f"--local_worker_num={count}",
        f"--master_port={free_port()}",
        f"--log_dir={place.folder / 'msrun'}",
        "--join=True",
        "python",
        *words,
    ]


def _shell_loop(place: Place, words: list[str]) -> list[str]:
    """What one writes by hand: the ranks in the background, and MindSpore's scheduler where there are several."""
    program = shlex.join(["python", *words])
    if place.ranks == 1:
        return ["sh", "-c", f"{program} & wait $!"]
    script = f"""
export RANK_SIZE={place.ranks} MS_WORKER_NUM={place.ranks} MS_SCHED_HOST=127.0.0.1 MS_SCHED_PORT={free_port()}
MS_ROLE=MS_SCHED {program} &
for rank in $(seq 0 {place.ranks - 1}); do
  MS_ROLE=MS_WORKER MS_NODE_ID=$rank RANK_ID=$rank DEVICE_ID=$rank {program} &
done
wait
"""
    return ["sh", "-c", script]


def _with_launcher(place: Place) -> Start:
    """`launcher submit`, which returns when the run is handed over to its node program."""
    job = {
        "name": place.mark,
        "model": {"config": str(CONFIG), "set": SETTINGS},
        "data": {"url": str(place.data)},
        "resources": {"backend": "local", "device": "cpu", "devices_per_node": place.ranks},
        "output": {"url": str(place.folder / "runs"), "work_dir": str(place.folder / "work")},
        "after": {"eval": False, "export": []},
        "retry": {"max_restarts": 1},
    }
    (place.folder / "job.yaml").write_text(json.dumps(job))
    command = [sys.executable, "-m", "launcher", "submit", "job.yaml"]
    run = _started("launcher", place, command, place.env(), Path())
    _, _, used = os.wait4(run.popen.pid, 0)
    run.popen.returncode = 0
    run.cpu_before = used.ru_utime + used.ru_stime
    folders = list((place.folder / "work").glob(f"{place.mark}*"))
    if len(folders) != 1:
        run.popen.returncode = 1
        raise run.failure() or CannotRun("launcher", "no run")
    run.progress = folders[0] / "progress"
    return run
