"""What is trained, where, and one disturbed run from its submission to its row."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.faults.examine import examine, fingerprint
from benchmarks.faults.injections import FAULTS
from benchmarks.faults.platforms import Platform
from benchmarks.faults.programs import ROOT, Program
from benchmarks.faults.run import POLL_S, TOO_LONG_S, Run, wait_for
from benchmarks.faults.surroundings import MADE_HERE, Surroundings, prepared
from launcher.runfolder.states import AttemptResult, State
from launcher.runs.index import Index
from launcher.runs.view import RunView
from launcher.submission.resume import resume

HANG_S = 45
"""Silence that counts as a hang, where the fault is one."""
PATIENT_S = 300
"""The same for other faults: no machine is so slow that a run among them counts as hung."""
SPREAD_S = 1.5
EVALUATION_S = 10.0
"""From the last evaluation of the training, through its end, into the evaluation of the checkpoint read back."""


@dataclass
class Bench:
    """Where runs happen: a platform, a home, and a lock folder for each."""

    program: Program
    platform: Platform
    hang_s: int = HANG_S
    scale: float = 1.0
    reference: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        home = {
            "LAUNCHER_HOME": str(self.folder / "home"),
            "LAUNCHER_SIGNING_KEY": "the key of whoever works on these runs",
            "LAUNCHER_LOCK_DIR": str(self.folder / "locks"),
            **self.platform.env,
        }
        self.env = {**os.environ, **home, "PYTHONPATH": str(ROOT)}
        os.environ.update(home)

    @property
    def folder(self) -> Path:
        return self.platform.folder

    def faults(self) -> list[str]:
        """Those that can happen on the platform: what needs a disk, a clock or a proxy needs this machine."""
        needs = ("", "machines") if self.platform.more_machines else tuple(MADE_HERE)
        return sorted(name for name, kind in FAULTS.items() if kind.needs in needs)

    def submit(self, number: int, chance: random.Random, around: Surroundings) -> Run:
        """`launcher submit --follow` in a process of its own, as a user does it."""
        job = self._job(number, around)
        job["watch"] = {"hang_after": f"{self.hang_s if around.silent else PATIENT_S}s", "grace": "20s"}
        before, env = set(Index().ids()), self._env_of(number, around)
        path = self.folder / f"job-{number}.yaml"
        path.write_text(yaml.safe_dump(job))
        console = self.folder / f"cli-{number}.log"
        desk = self.folder / "desk"  # empty: a program's run takes a snapshot of where it was submitted
        desk.mkdir(exist_ok=True)
        with console.open("wb") as file:
            cli = subprocess.Popen(
                [sys.executable, "-m", "launcher", "submit", str(path), "--follow"],
                env=env,
                cwd=desk if "program" in job else None,
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
            )
        deadline = time.monotonic() + TOO_LONG_S
        while not (new := {each for each in Index().ids() if each.startswith(f"fault-{number}-")} - before):
            if cli.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(console.read_text())
            time.sleep(POLL_S)
        entry = Index().get(new.pop())
        assert entry is not None
        return Run(
            entry,
            cli,
            chance,
            self.platform,
            self.folder / f"homes-{number}",
            env,
            self.scale,
            around.disk,
            around.clock,
            around.proxy,
        )

    def _env_of(self, number: int, around: Surroundings) -> dict[str, str]:
        env = dict(self.env)
        if not self.platform.more_machines:
            (env["LAUNCHER_LOCK_DIR"],) = map(str, self.platform.lock_folders(f"fault-{number}"))
        if around.clock is not None:
            env["CLOCK_OFF"] = str(around.clock)
            env["PYTHONPATH"] = f"{around.clock.parent}{os.pathsep}{env['PYTHONPATH']}"
        return env

    def _job(self, number: int, around: Surroundings) -> dict[str, Any]:
        job: dict[str, Any] = {
            "name": f"fault-{number}",
            "retry": {"max_restarts": 3, "backoff": "1s"},
            **self.program.job,
            **self.platform.sections(),
        }
        if "program" in job:
            job["program"] = [self.platform.python, *job["program"][1:]]
        job["resources"] = {"device": "cpu", "devices_per_node": 2, **job.get("resources", {})}
        patience = "30s" if around.disk else "2min"
        output = job["output"] = {**job["output"], "upload_every": "1s", "upload_patience": patience}
        if around.proxy is not None:
            output |= {"url": f"s3://bucket/{self.folder.name}", "endpoint": around.proxy.endpoint}
        if around.disk is not None:
            output["work_dir"] = str(around.disk.folder / "work")
        if self.program.data:
            job["after"] = {"eval": around.whole, "export": ["MINDIR"] if around.whole else []}
            if around.proxy is not None:
                cache = str(self.folder / f"cache-{number}")
                url = f"s3://bucket/{self.program.data}"
                job["data"] = {"url": url, "endpoint": around.proxy.endpoint, "cache_dir": cache}
        return job


def choose(bench: Bench, number: int, seed: int) -> tuple[str, str]:
    """Fault and moment of an injection: every fault in turn, and for each one its moments in an order that the seed chooses.

    Moments inside training and saving come twice as often as the others.
    """
    names = bench.faults()
    fault = names[number % len(names)]
    moments = [each for each in FAULTS[fault].moments if each in bench.program.moments] or ["start"]
    moments += [each for each in moments if each in ("training", "saving")]
    random.Random(f"{seed}-{fault}").shuffle(moments)
    return fault, moments[number // len(names) % len(moments)]


def one(
    bench: Bench, number: int, seed: int, fault: str | None = None, moment: str | None = None
) -> dict[str, Any]:
    """One disturbed run and its examination."""
    chosen = choose(bench, number, seed)
    fault, moment = fault or chosen[0], moment or chosen[1]
    chance = random.Random(f"{seed}-{number}")
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        around = prepared(bench.program, bench.platform, number, fault, moment, stack)
        run = bench.submit(number, chance, around)
        wait_for(run, moment, bench.scale * (EVALUATION_S if moment == "evaluating" else SPREAD_S))
        FAULTS[fault].do(run)
        safe: set[int] = set()
        view = _to_the_end(run, safe)
        unended = _end_cli(run)
        bench.platform.bring_back()
        wrong = [*run.wrong, *examine(run, view, safe, bench.reference, fault), *unended]
        if not wrong:
            for each in (run.folder, run.homes, bench.folder / f"cache-{number}"):
                shutil.rmtree(each, ignore_errors=True)
    return {
        "number": number,
        "fault": fault,
        "moment": moment,
        "platform": bench.platform.name,
        "program": bench.program.name,
        "phase": run.phase or "ended",
        "hit": run.hit,
        "run": run.entry.run_id,
        "state": view.state.value,
        "attempts": view.attempt,
        "resumes": run.resumes,
        "reasons": run.reasons,
        "seconds": round(time.monotonic() - begun, 1),
        "wrong": wrong,
    }


def _end_cli(run: Run) -> list[str]:
    """Wait for the command line, which ends with the run; a line for one that does not."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.cli.wait(120)
        return []
    run.cli.kill()
    run.cli.wait()
    return ["hung or failed: the command line did not end"]


def _to_the_end(run: Run, safe: set[int]) -> RunView:
    """The last view. A run that has FAILED is resumed, as a user would; `run` keeps the reasons and how often."""
    view = until_the_end(run, safe)
    most = run.resumes + 2
    while view.state is State.FAILED and run.resumes < most:
        run.reasons.append(view.reason)
        if run.disk is not None:
            run.disk.repair()
        run.resumes += 1
        index = Index(run.index)
        run.entry = resume(index.find(run.entry.run_id), index)
        view = until_the_end(run, safe)
    if view.state is State.FAILED:
        run.reasons.append(view.reason)
    earlier = [each.outcome for each in view.attempts[:-1] if each.result is not AttemptResult.DONE]
    run.reasons += sorted(set(earlier) - set(run.reasons), key=earlier.index)
    return view


def until_the_end(run: Run, safe: set[int]) -> RunView:
    """Block until the run has ended, noting every checkpoint that it reports as safe."""
    deadline = time.monotonic() + TOO_LONG_S
    last: RunView | None = None
    while True:
        view = run.view()
        if view is not None:
            last = view
            if view.safe_step is not None:
                safe.add(view.safe_step)
        if last is not None and (last.state.terminal or time.monotonic() > deadline):
            return last
        time.sleep(0.1)


def undisturbed(bench: Bench) -> dict[str, str]:
    """The run that all others are compared with."""
    run = bench.submit(0, random.Random(0), Surroundings())
    view = until_the_end(run, set())
    if view.state is not State.SUCCEEDED:
        raise RuntimeError(f"the undisturbed run: {view.reason}")
    run.cli.wait()
    return fingerprint(run)
