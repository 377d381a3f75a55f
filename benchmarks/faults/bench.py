"""What is trained, where, and one disturbed run from its submission to its row."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.faults.examine import examine, fingerprint
from benchmarks.faults.injections import (
    FAULTS,
    POLL_S,
    THROUGH_PROXY,
    TOO_LONG_S,
    Run,
    wait_for,
)
from benchmarks.faults.programs import ROOT, Program
from launcher.runfolder.states import AttemptResult, State
from launcher.runs.index import Index
from launcher.runs.view import RunView
from launcher.submission.resume import resume
from tests.servers.faults import Faults, delay, fault_proxy
from tests.servers.s3 import S3Server

HANG_S = 45
"""Silence that counts as a hang, where the fault is one."""
PATIENT_S = 300
"""The same for other faults: no machine is so slow that a run among them counts as hung."""
SPREAD_S = 1.5
EVALUATION_S = 10.0
"""From the last evaluation of the training, through its end, into the evaluation of the checkpoint read back."""
WHOLE = ("evaluating", "exporting")
"""Moments that need the programs after the training, which start MindSpore three times more."""


@dataclass
class Bench:
    """Where runs happen: a home, a lock folder for each, and an S3 server behind a proxy where one is needed."""

    program: Program
    folder: Path
    server: S3Server
    hang_s: int = HANG_S
    scale: float = 1.0
    reference: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        home = {"LAUNCHER_HOME": str(self.folder / "home"), "LAUNCHER_LOCK_DIR": str(self.folder / "locks")}
        self.env = {**os.environ, **home, **self.server.env, "PYTHONPATH": str(ROOT)}
        os.environ.update({**home, **self.server.env})

    def submit(
        self,
        number: int,
        chance: random.Random,
        *,
        whole: bool = True,
        silent: bool = False,
        small_disk: Path | None = None,
        proxy: Faults | None = None,
    ) -> Run:
        """`launcher submit --follow` in a process of its own, as a user does it."""
        job = self._job(number, whole=whole, small_disk=small_disk, proxy=proxy)
        job["watch"] = {"hang_after": f"{self.hang_s if silent else PATIENT_S}s", "grace": "20s"}
        before = set(Index().ids())
        path = self.folder / f"job-{number}.yaml"
        path.write_text(yaml.safe_dump(job))
        locks = self.folder / f"locks-{number}"
        console = self.folder / f"cli-{number}.log"
        desk = (
            self.folder / "desk"
        )  # empty: a program's run takes a snapshot of the folder where it was submitted
        desk.mkdir(exist_ok=True)
        with console.open("wb") as file:
            cli = subprocess.Popen(
                [sys.executable, "-m", "launcher", "submit", str(path), "--follow"],
                env={**self.env, "LAUNCHER_LOCK_DIR": str(locks)},
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
        return Run(entry, cli, chance, locks, self.scale, small_disk, proxy)

    def _job(
        self, number: int, *, whole: bool, small_disk: Path | None, proxy: Faults | None
    ) -> dict[str, Any]:
        output: dict[str, Any] = {
            "url": str(self.folder / "runs"),
            "upload_every": "1s",
            "upload_patience": "30s" if small_disk else "2min",
        }
        if proxy is not None:
            output |= {"url": f"s3://bucket/{self.folder.name}", "endpoint": proxy.endpoint}
        if small_disk is not None:
            output["work_dir"] = str(small_disk)
        job: dict[str, Any] = {
            "name": f"fault-{number}",
            "resources": {"device": "cpu", "devices_per_node": 2},
            "output": output,
            "retry": {"max_restarts": 3, "backoff": "1s"},
            **self.program.job,
        }
        if self.program.data:
            job["after"] = {"eval": whole, "export": ["MINDIR"] if whole else []}
            if proxy is not None:
                cache = str(self.folder / f"cache-{number}")
                url = f"s3://bucket/{self.program.data}"
                job["data"] = {"url": url, "endpoint": proxy.endpoint, "cache_dir": cache}
        return job


def choose(bench: Bench, number: int, seed: int) -> tuple[str, str]:
    """Fault and moment of an injection: every fault in turn, and for each one its moments in an order that the seed chooses.

    Moments inside training and saving come twice as often as the others.
    """
    names = sorted(FAULTS)
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
        proxy = disk = None
        if fault.startswith("store") or (bench.program.data and moment in THROUGH_PROXY):
            proxy = stack.enter_context(fault_proxy(bench.server.endpoint))
            _slow_down(proxy, moment)
        if fault.startswith("disk"):
            disk = stack.enter_context(small_disk(bench.folder / f"disk-{number}", bench.program.disk_mb))
        whole = moment in WHOLE or fault == "none"
        silent = FAULTS[fault].silent
        run = bench.submit(number, chance, whole=whole, silent=silent, small_disk=disk, proxy=proxy)
        wait_for(run, moment, bench.scale * (EVALUATION_S if moment == "evaluating" else SPREAD_S))
        FAULTS[fault].do(run)
        safe: set[int] = set()
        view, reasons, resumes = _to_the_end(run, safe)
        unended = _end_cli(run)
        wrong = examine(run, view, safe, bench.reference, fault, reasons) + unended
        if not wrong:
            shutil.rmtree(run.folder, ignore_errors=True)
            shutil.rmtree(bench.folder / f"cache-{number}", ignore_errors=True)
    return {
        "number": number,
        "fault": fault,
        "moment": moment,
        "phase": run.phase or "ended",
        "hit": run.hit,
        "run": run.entry.run_id,
        "state": view.state.value,
        "attempts": view.attempt,
        "resumes": resumes,
        "reasons": reasons,
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


def _slow_down(proxy: Faults, moment: str) -> None:
    """Make a moment long enough to be met."""
    if moment == "staging":
        proxy.add(delay(0.2), method="GET", path="/digits/")
    elif moment == "uploading":
        proxy.add(delay(0.3), method="PUT")
    elif moment == "commit":
        proxy.add(delay(1.0), method="PUT", path="/MANIFEST.json")


def _to_the_end(run: Run, safe: set[int]) -> tuple[RunView, list[str], int]:
    """The last view; the reasons of failures; and how often it was resumed, as a user would."""
    view = until_the_end(run, safe)
    reasons = [view.reason] if view.state is State.FAILED else []
    resumes = 0
    while view.state is State.FAILED and resumes < 2:
        if run.small_disk is not None:
            (run.small_disk / "ballast").unlink(missing_ok=True)
        resumes += 1
        run.entry = resume(Index().find(run.entry.run_id), Index())
        view = until_the_end(run, safe)
        reasons += [view.reason] if view.state is State.FAILED else []
    earlier = [each.outcome for each in view.attempts[:-1] if each.result is not AttemptResult.DONE]
    reasons += sorted(set(earlier) - set(reasons), key=earlier.index)
    return view, reasons, resumes


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


@contextlib.contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[Path]:
    """A file system that can be filled up. Needs root."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def undisturbed(bench: Bench) -> dict[str, str]:
    """The run that all others are compared with."""
    run = bench.submit(0, random.Random(0))
    view = until_the_end(run, set())
    if view.state is not State.SUCCEEDED:
        raise RuntimeError(f"the undisturbed run: {view.reason}")
    run.cli.wait()
    return fingerprint(run)
