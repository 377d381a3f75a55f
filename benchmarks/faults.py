"""Fault campaign: runs with two ranks, each disturbed once at a moment that a seed chooses, and then examined.

    python -m benchmarks.faults --count 100 --out faults.jsonl         continues a file that it began
    python -m benchmarks.faults --report faults.jsonl                  the tables of docs/reliability.md

After each run: it ended SUCCEEDED (a run whose node program was ended is resumed first, as a user would), no process
and no lock is left, every checkpoint that was ever reported as safe is in the store and is what its manifest says, and
the final parameters equal those of an undisturbed run, bit for bit.
"""

from __future__ import annotations

import argparse
import ast
import collections
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from launcher.devices import DeviceLocks
from launcher.orphans import MARK
from launcher.runs import Entry, Index
from launcher.states import State
from launcher.submission import resume
from launcher.view import RunView, view_of
from tests.servers.faults import Faults, delay, fault_proxy, reset, status
from tests.servers.s3 import S3Server, rclone_server

ROOT = Path(__file__).resolve().parents[1]
COUNTER = ROOT / "tests" / "programs" / "counter.py"
MOMENTS = (
    "start",
    "starting",
    "compiling",
    "training",
    "saving",
    "evaluating",
    "eval",
    "exporting",
    "uploading",
    "any",
)
TOO_LONG_S = 300.0
HANG_S = 20


@dataclass
class Run:
    """One disturbed run, while it is under way."""

    entry: Entry
    cli: subprocess.Popen[bytes]
    chance: random.Random
    locks: Path
    scale: float = 1.0
    small_disk: Path | None = None
    proxy: Faults | None = None
    hit: str = ""

    @property
    def folder(self) -> Path:
        return self.entry.run_dir.root

    def pids(self) -> dict[str, int]:
        """Processes of the run by role, as the machine shows them."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (path / "cmdline").read_bytes().split(b"\0")
                environment = (path / "environ").read_bytes().split(b"\0")
                role = _role(words, environment, self.entry.run_id)
                if role:
                    found.setdefault(role, int(path.name))
        return found

    def kill(self, role: str, number: signal.Signals) -> None:
        """Signal a process of the run; one that is not there is no error."""
        if role == "cli":
            pid: int | None = self.cli.pid if self.cli.poll() is None else None
        else:
            pid = self.pids().get(role)
        if pid:
            self.hit = f"{role} {number.name}"
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _role(words: list[bytes], environment: list[bytes], run_id: str) -> str:
    if b"launcher.node" in words and any(run_id.encode() in word for word in words):
        return "node"
    if any(word.endswith(b"orphans.py") for word in words) and any(run_id.encode() in word for word in words):
        return "keeper"
    if f"LAUNCHER_RUN_ID={run_id}".encode() not in environment:
        return ""
    if b"MS_ROLE=MS_SCHED" in environment:
        return "scheduler"
    rank = next((each[8:].decode() for each in environment if each.startswith(b"RANK_ID=")), "")
    return f"rank {rank}" if rank else ""


def signalling(role: str, number: signal.Signals) -> Callable[[Run], None]:
    """A fault: one process gets a signal. `rank` is one of the two."""

    def fault(run: Run) -> None:
        run.kill(f"rank {run.chance.randrange(2)}" if role == "rank" else role, number)

    return fault


def node_and_keeper(run: Run) -> None:
    """Both at once, so that nobody is left to clean up but the next attempt."""
    pids = run.pids()
    for role in ("keeper", "node"):
        if role in pids:
            run.hit = "node and keeper SIGKILL"
            os.kill(pids[role], signal.SIGKILL)


def node_asleep(run: Run) -> None:
    """The node program does not run for a while, as in a suspended virtual machine."""
    run.kill("node", signal.SIGSTOP)
    time.sleep(run.scale * run.chance.uniform(1, 20))
    run.kill("node", signal.SIGCONT)


def store_fault(change: Callable[[Any], None], seconds: float) -> Callable[[Run], None]:
    """The store misbehaves for a while, for every kind of request."""

    def fault(run: Run) -> None:
        assert run.proxy is not None
        for method in ("GET", "PUT", "POST", "HEAD", "DELETE"):
            run.proxy.add(change, method=method)
        run.hit = "store"
        time.sleep(run.scale * seconds)
        with run.proxy.lock:
            run.proxy.active.clear()

    return fault


def disk_full(*, for_ever: bool) -> Callable[[Run], None]:
    """The disk of the run directory fills up; something else frees it again after a while, or never does."""

    def fault(run: Run) -> None:
        assert run.small_disk is not None
        ballast = run.small_disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(b"\0" * (1 << 16))
                file.flush()
        run.hit = "disk"
        if not for_ever:
            time.sleep(run.scale * run.chance.uniform(1, 8))
            ballast.unlink()

    return fault


def nothing(run: Run) -> None:
    """The control: what differs here differs without any fault."""


S = signal.Signals
FAULTS: dict[str, Callable[[Run], None]] = {
    "none": nothing,
    "rank SIGKILL": signalling("rank", S.SIGKILL),
    "rank SIGSTOP": signalling("rank", S.SIGSTOP),
    "rank SIGTERM": signalling("rank", S.SIGTERM),
    "scheduler SIGKILL": signalling("scheduler", S.SIGKILL),
    "scheduler SIGSTOP": signalling("scheduler", S.SIGSTOP),
    "scheduler SIGTERM": signalling("scheduler", S.SIGTERM),
    "node SIGKILL": signalling("node", S.SIGKILL),
    "node SIGTERM": signalling("node", S.SIGTERM),
    "node asleep": node_asleep,
    "keeper SIGKILL": signalling("keeper", S.SIGKILL),
    "node and keeper SIGKILL": node_and_keeper,
    "cli SIGKILL": signalling("cli", S.SIGKILL),
    "cli SIGINT": signalling("cli", S.SIGINT),
    "store refuses": store_fault(status(403, "AccessDenied"), 6.0),
    "store resets": store_fault(reset, 6.0),
    "store answers 503": store_fault(status(503, "SlowDown"), 6.0),
    "store is slow": store_fault(delay(2.0), 10.0),
    "disk full for a while": disk_full(for_ever=False),
    "disk full": disk_full(for_ever=True),
}


@dataclass(frozen=True)
class Kind:
    """What is trained: the counter program of the tests, or the digits for real."""

    name: str
    job: dict[str, Any]
    disk_mb: int
    moments: tuple[str, ...] = MOMENTS


def counter_kind() -> Kind:
    """Quick: six seconds a run."""
    env = {"STEPS": "20", "STEP_S": "0.1", "SCHEDULER": "stays"}
    job = {"program": [sys.executable, str(COUNTER)], "env": env}
    return Kind("counter", job, 2, ("start", "training", "saving", "uploading", "any"))


def digits_kind(data: Path) -> Kind:
    """A small ViT on 192 images: 6 epochs of 6 steps, saved every third step.

    Evaluated and exported afterwards where the fault is to come then: these programs start MindSpore three times more.
    """
    changes = {
        "epochs": 6,
        "batch_size": 16,
        "eval_batch_size": 64,
        "save_every_steps": 3,
        "keep_checkpoint_max": 20,
    }
    job = {
        "model": {"config": str(ROOT / "vitmodels" / "configs" / "vit_digits.yaml"), "set": changes},
        "data": {"url": str(data)},
    }
    return Kind("digits", job, 200)


def make_images(folder: Path) -> Path:
    """192 training and 64 validation images of the digits."""
    if (folder / "few").exists():
        return folder / "few"
    whole = folder / "all"
    subprocess.run(
        [sys.executable, "-m", "vitmodels.digits", str(whole)],
        check=True,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    for part, count in (("train", 192), ("val", 64)):
        by_class = [sorted(each.iterdir()) for each in sorted((whole / part).iterdir())]
        ordered = [path for row in zip(*by_class, strict=False) for path in row][:count]
        for path in ordered:
            target = folder / "few" / part / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return folder / "few"


@dataclass
class Bench:
    """Where runs happen: a home, a lock folder, and an S3 server behind a proxy when a fault needs one."""

    kind: Kind
    folder: Path
    server: S3Server | None = None
    hang_s: int = HANG_S
    scale: float = 1.0
    reference: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.env = {
            **os.environ,
            "LAUNCHER_HOME": str(self.folder / "home"),
            "LAUNCHER_LOCK_DIR": str(self.folder / "locks"),
            "PYTHONPATH": str(ROOT),
        }
        if self.server is not None:
            self.env |= self.server.env
        os.environ.update({key: self.env[key] for key in ("LAUNCHER_HOME", "LAUNCHER_LOCK_DIR")})
        if self.server is not None:
            os.environ.update(self.server.env)

    def submit(
        self,
        number: int,
        chance: random.Random,
        *,
        whole: bool = True,
        small_disk: Path | None = None,
        proxy: Faults | None = None,
    ) -> Run:
        """`launcher submit --follow` in a process of its own, as a user does it."""
        output: dict[str, Any] = {
            "url": str(self.folder / "runs"),
            "upload_every": "1s",
            "upload_patience": "30s" if small_disk else "2min",
        }
        if proxy is not None:
            output |= {"url": f"s3://bucket/{self.folder.name}", "endpoint": proxy.endpoint}
        if small_disk is not None:
            output["work_dir"] = str(small_disk)
        job = {
            "name": f"fault-{number}",
            "resources": {"device": "cpu", "devices_per_node": 2},
            "output": output,
            "retry": {"max_restarts": 3, "backoff": "1s"},
            "watch": {"hang_after": f"{self.hang_s}s", "grace": "20s"},
            **self.kind.job,
        }
        if self.kind.name == "digits" and not whole:
            job["after"] = {"eval": False, "export": []}
        before = set(Index().ids())
        path = self.folder / f"job-{number}.yaml"
        path.write_text(yaml.safe_dump(job))
        locks = self.folder / f"locks-{number}"
        command = [sys.executable, "-m", "launcher", "submit", str(path), "--follow"]
        with (self.folder / f"cli-{number}.log").open("wb") as console:
            cli = subprocess.Popen(
                command,
                env={**self.env, "LAUNCHER_LOCK_DIR": str(locks)},
                stdout=console,
                stderr=console,
                stdin=subprocess.DEVNULL,
            )
        deadline = time.monotonic() + 60
        while not (new := {each for each in Index().ids() if each.startswith(f"fault-{number}-")} - before):
            if cli.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / f"cli-{number}.log").read_text())
            time.sleep(0.02)
        entry = Index().get(new.pop())
        assert entry is not None
        return Run(entry, cli, chance, locks, self.scale, small_disk, proxy)


def wait_for(run: Run, moment: str, spread_s: float) -> str:
    """Block until the moment has come, and a little longer by chance. Returns the phase then."""
    deadline = time.monotonic() + TOO_LONG_S
    while not _is_now(run, moment) and not view_of(run.entry).state.terminal:
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    time.sleep(run.chance.uniform(0, spread_s))
    return view_of(run.entry).phase


def _is_now(run: Run, moment: str) -> bool:
    if moment == "start":
        return True
    if moment == "saving":
        return any((run.folder / "checkpoints").glob("*step-*"))
    if moment == "eval":
        return (run.folder / "eval" / "last.json").exists()
    return view_of(run.entry).phase == moment


def until_the_end(run: Run, safe: set[int]) -> RunView:
    """Block until the run has ended, noting every checkpoint that it reports as safe."""
    deadline = time.monotonic() + TOO_LONG_S
    while True:
        view = view_of(run.entry)
        if view.safe_step is not None:
            safe.add(view.safe_step)
        if view.state.terminal or time.monotonic() > deadline:
            return view
        time.sleep(0.1)


def examine(bench: Bench, run: Run, view: RunView, safe: set[int]) -> list[str]:
    """Everything that is wrong after a run."""
    wrong = []
    if view.state is not State.SUCCEEDED:
        wrong.append(f"hung or failed: {view.state} {view.phase}: {view.reason}")
    deadline = time.monotonic() + 10
    while (left := _left_over(run)) and time.monotonic() < deadline:
        time.sleep(0.2)
    if left:
        wrong.append(f"orphans: {left}")
    if owners := DeviceLocks(run.locks).owners():
        wrong.append(f"locks left: {owners}")
    return wrong + check_store(bench, run, view, safe)


def _left_over(run: Run) -> dict[str, int]:
    """Any process that carries the run's mark, or runs its node program or keeper."""
    found = run.pids()
    mark = f"{MARK}={run.entry.run_id}:".encode()
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(each.startswith(mark) for each in (path / "environ").read_bytes().split(b"\0")):
                found[f"marked {path.name}"] = int(path.name)
    return found


def check_store(bench: Bench, run: Run, view: RunView, safe: set[int]) -> list[str]:
    """Torn and lost: sets, manifests, and the final parameters."""
    wrong = []
    store = run.entry.store.open()
    held = {info.key for info in store.list()}
    sets = sorted(
        key for key in held if key.startswith("checkpoints/step-") and key.endswith("/manifest.json")
    )
    for key in sets:
        prefix = key.removesuffix("manifest.json")
        for entry in json.loads(store.read(key))["files"]:
            data = store.read(prefix + entry["name"]) if prefix + entry["name"] in held else b""
            if hashlib.sha256(data).hexdigest() != entry["sha256"]:
                wrong.append(f"torn: {prefix}{entry['name']}")
            elif entry["name"].endswith(".safetensors"):
                from safetensors.numpy import load

                load(data)
    there = {int(key.split("/")[1].removeprefix("step-")) for key in sets}
    if lost := safe - there:
        wrong.append(f"lost: steps {sorted(lost)} were reported as safe")
    if view.state is State.SUCCEEDED:
        manifest = json.loads(store.read("MANIFEST.json"))
        for entry in manifest["files"]:
            key = entry["name"]
            if key not in held or hashlib.sha256(store.read(key)).hexdigest() != entry["sha256"]:
                wrong.append(f"torn: {key} is not what MANIFEST.json says")
        final = fingerprint(run)
        differing = sorted(k for k in final if bench.reference and final[k] != bench.reference.get(k))
        if differing:
            near = close(final, bench.reference)
            words = "differs in rounding from" if near else "different from"
            wrong.append(f"{words} the undisturbed run: {', '.join(differing)}")
    return wrong


def close(final: dict[str, str], reference: dict[str, str]) -> bool:
    """Same steps, and losses that agree to 1e-4: what the last bits of an operator do, but not a lost or repeated step."""
    rows, others = (
        ast.literal_eval(final.get("losses", "[]")),
        ast.literal_eval(reference.get("losses", "[]")),
    )
    same_steps = [row[:2] for row in rows] == [row[:2] for row in others]
    return (
        bool(rows)
        and same_steps
        and all(abs(a[2] - b[2]) < 1e-4 * b[2] for a, b in zip(rows, others, strict=True))
    )


def fingerprint(run: Run) -> dict[str, str]:
    """Digests of the newest checkpoint's files, the losses, and the accuracies, from the store."""
    store = run.entry.store.open()
    latest = json.loads(store.read("checkpoints/LATEST"))
    manifest = json.loads(store.read(f"{latest['path']}/manifest.json"))
    found = {entry["name"]: entry["sha256"] for entry in manifest["files"]} | {"step": str(latest["step"])}
    if store.head("metrics.jsonl"):
        rows = [json.loads(line) for line in store.read("metrics.jsonl").splitlines()]
        found["losses"] = str([(row["epoch"], row["step"], row["loss"], row["top1"]) for row in rows])
    for info in store.list("eval/"):
        found[info.key] = str(json.loads(store.read(info.key))["top1"])
    return found


def one(
    bench: Bench, number: int, seed: int, fault: str | None = None, moment: str | None = None
) -> dict[str, Any]:
    """One disturbed run and its examination."""
    chance = random.Random(f"{seed}-{number}")
    names = sorted(FAULTS)
    fault = fault or names[number % len(names)]
    moment = moment or chance.choice(bench.kind.moments)
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        proxy = (
            stack.enter_context(fault_proxy(bench.server.endpoint))
            if fault.startswith("store") and bench.server
            else None
        )
        disk = (
            stack.enter_context(small_disk(bench.folder / f"disk-{number}", bench.kind.disk_mb))
            if fault.startswith("disk")
            else None
        )
        whole = moment in ("eval", "exporting", "any")
        run = bench.submit(number, chance, whole=whole, small_disk=disk, proxy=proxy)
        phase = wait_for(run, moment, bench.scale * (25.0 if moment == "any" else 1.5))
        FAULTS[fault](run)
        safe: set[int] = set()
        view = until_the_end(run, safe)
        reasons = [view.reason] if view.state is State.FAILED else []
        resumes = 0
        while view.state is State.FAILED and resumes < 2:  # what a user does who reads the reason
            if disk is not None:
                (disk / "ballast").unlink(missing_ok=True)
            resumes += 1
            run.entry = resume(Index().find(run.entry.run_id), Index())
            view = until_the_end(run, safe)
            reasons += [view.reason] if view.state is State.FAILED else []
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.cli.wait(10)
        wrong = examine(bench, run, view, safe)
        if run.cli.poll() is None:
            run.cli.kill()
            wrong.append("the command line did not end")
            run.cli.wait()
        attempts = [attempt.outcome for attempt in view.attempts[:-1]]
        if any("defect" in reason for reason in reasons + attempts):
            wrong.append("failed for a defect of ours")
        result = {
            "number": number,
            "fault": fault,
            "moment": moment,
            "phase": phase or "queued",
            "hit": run.hit,
            "state": view.state.value,
            "attempts": view.attempt,
            "resumes": resumes,
            "reasons": reasons + attempts,
            "seconds": round(time.monotonic() - begun, 1),
            "wrong": wrong,
        }
        if not wrong:
            shutil.rmtree(run.folder, ignore_errors=True)
    return result


@contextlib.contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[Path]:
    """A file system that can be filled up. Needs root."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def undisturbed(bench: Bench) -> dict[str, str]:
    """The run that all others are compared with."""
    run = bench.submit(0, random.Random(0))
    view = until_the_end(run, set())
    assert view.state is State.SUCCEEDED, view.reason
    run.cli.wait()
    return fingerprint(run)


def report(rows: list[dict[str, Any]]) -> str:
    """Tables in Markdown."""
    lines = [
        "| fault | injections | met something | restarts | resumes | lost | torn | orphaned | hung or failed | different | only in rounding |"
    ]
    lines.append("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    by_fault: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for row in rows:
        by_fault[row["fault"]].append(row)
    for fault, found in [*sorted(by_fault.items()), ("**all**", rows)]:
        words = [" ".join(row["wrong"]) for row in found]
        counts = [
            sum(key in text for text in words)
            for key in ("lost:", "torn:", "orphans:", "failed", "different from", "rounding")
        ]
        restarts = sum(row["attempts"] - 1 - row["resumes"] for row in found)
        resumes = sum(row["resumes"] for row in found)
        lines.append(
            f"| {fault} | {len(found)} | {sum(bool(r['hit']) for r in found)} | {restarts} | {resumes} | "
            + " | ".join(map(str, counts))
            + " |"
        )
    phases = collections.Counter(row["phase"] for row in rows)
    lines += [
        "",
        "Phase at the moment of the fault: " + ", ".join(f"{k} {v}" for k, v in phases.most_common()),
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fault", choices=sorted(FAULTS))
    parser.add_argument("--moment", choices=MOMENTS)
    parser.add_argument("--program", choices=("digits", "counter"), default="digits")
    parser.add_argument("--out", type=Path, default=Path("faults.jsonl"))
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="stop after the run in which they end"
    )
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    if args.report:
        print(report([json.loads(line) for line in args.report.read_text().splitlines()]))
        return 0
    done = (
        {json.loads(line)["number"] for line in args.out.read_text().splitlines()}
        if args.out.exists()
        else set()
    )
    end = time.monotonic() + 60 * args.minutes
    folder = args.out.absolute().with_suffix(".work")
    (folder / "s3" / "bucket").mkdir(parents=True, exist_ok=True)
    with rclone_server(folder / "s3") as server:
        kind = counter_kind() if args.program == "counter" else digits_kind(make_images(folder / "images"))
        bench = Bench(kind, folder, server)
        known = folder / "reference.json"
        if not known.exists():
            known.write_text(json.dumps(undisturbed(bench)))
        bench.reference = json.loads(known.read_text())
        for number in range(args.count):
            if number in done or time.monotonic() > end:
                continue
            result = one(bench, number, args.seed, args.fault, args.moment)
            with args.out.open("a") as out:
                out.write(json.dumps(result) + "\n")
            print(
                f"{number:>3} {result['fault']:<24} at {result['phase']:<11} {result['state']:<9} {result['seconds']:>6.1f} s  {'; '.join(result['wrong']) or 'ok'}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
