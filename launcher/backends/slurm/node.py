"""From Slurm's variables to a node program: the number of the attempt, the node, and the devices of the job.

    python -m launcher.backends.slurm.node attempt RUN_DIR    once per start, on the first node: the attempt's number
    python -m launcher.backends.slurm.node node RUN_DIR       on every node, by srun: becomes the node program

Every start of the job by Slurm makes a new attempt. Its number leaves room for the restarts that a node program which is
cut off may have made by itself meanwhile, so that it can't take the number of the one that follows it.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from launcher.backends.slurm.script import options_of
from launcher.disk import write_private
from launcher.errors import BackendError, LauncherError, StoreError
from launcher.plan.model import ASCEND_DEVICES, Plan
from launcher.runfolder import paths
from launcher.runfolder.attempts import newest_attempt, newest_begun
from launcher.runfolder.smallfiles import read_small_object
from launcher.runfolder.states import RunState

STORE_PAUSE_S = 10.0


def next_attempt(plan: Plan, env: Mapping[str, str] = os.environ) -> int:
    """The number of the attempt that begins now. Waits for a store that is down. Raises StoreError when patience ends."""
    base = int(env.get("LAUNCHER_FIRST_ATTEMPT", "1"))
    is_restart = int(env.get("SLURM_RESTART_COUNT") or 0) > 0
    deadline = time.monotonic() + plan.upload_patience_s
    while True:
        try:
            store = plan.store.open()
            if (
                not is_restart and newest_begun(store) < base
            ):  # else a second job of the run was submitted at the same time
                return base
            return max(base, newest_attempt(store)) + 1 + plan.retry.max_restarts
        except StoreError:
            if time.monotonic() > deadline:
                raise
            time.sleep(STORE_PAUSE_S)


def devices_of(
    job: str, host: str, hosts_of: Mapping[str, Sequence[str]], name: str = "npu"
) -> tuple[int, ...]:
    """Logical ids of the NPUs that Slurm gave to this job on a node, from `scontrol -o -d show job`; empty when Slurm only counts devices.

    `hosts_of` expands the lists of hosts that stand in it; `name` is that of the NPUs, without a type.
    """
    ours = re.compile(rf"(?:^|,){re.escape(name)}(?::[^:(),]+)*\(IDX:([0-9,-]+)\)")
    for nodes, gres in re.findall(r" Nodes=(\S+) CPU_IDs=\S* Mem=\S* GRES=(\S*)", " " + job):
        if host in hosts_of.get(nodes, [nodes]):
            return tuple(sorted(number for text in ours.findall(gres) for number in _ids(text)))
    return ()


def _ids(text: str) -> list[int]:
    ids: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        ids += range(int(first), int(last or first) + 1)
    return ids


def expand(lists: str) -> list[str]:
    """The names in a list of hosts such as `node[1-2]`. Raises BackendError."""
    try:
        done = subprocess.run(
            ["scontrol", "show", "hostnames", lists], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BackendError(f"can't expand {lists}: {error}", where="scontrol") from error
    return done.stdout.split()


def _visible_devices(plan: Plan) -> None:
    """Slurm sets no variable for NPUs: the node program gets their ids in ASCEND_RT_VISIBLE_DEVICES."""
    job = os.environ.get("LAUNCHER_JOB", "")
    if plan.device not in ASCEND_DEVICES or "IDX:" not in job:
        return
    lists = re.findall(r" Nodes=(\S+) CPU_IDs=", job)
    name = options_of(plan).gres.partition(":")[0]
    ids = devices_of(job, os.environ["SLURMD_NODENAME"], {each: expand(each) for each in lists}, name)
    if ids:
        os.environ["ASCEND_RT_VISIBLE_DEVICES"] = ",".join(map(str, ids))


def _know_devices(plan: Plan) -> None:
    """Raises BackendError when it is not known which NPUs of the node are the job's."""
    if plan.device in ASCEND_DEVICES and options_of(plan).gres and not os.environ.get("LAUNCHER_JOB"):
        raise BackendError("no answer on which NPUs are the job's", where="scontrol show job")


def forget_old_requests(run_dir: paths.RunDir, began: float) -> None:
    """Remove requests to stop that an earlier start left on this node. `began` is the start's time, in Unix seconds."""
    for path in (run_dir.stop, run_dir.cancel):
        with suppress(OSError):
            if path.stat().st_mtime < began:
                path.unlink()


def _bring_state(plan: Plan) -> None:
    """Copy the run's state from the store, unless this machine has a newer one."""
    try:
        text = read_small_object(plan.store.open(10.0), paths.STATE).decode(errors="replace")
    except StoreError:
        return
    if _attempt_in(text) >= _attempt_in(_text_of(plan.run_dir.state)):
        write_private(plan.run_dir.state, text)


def _attempt_in(state: str) -> int:
    """The attempt that a state.json is of; 0 for one that can't be read."""
    try:
        return RunState.model_validate_json(state).attempt
    except ValidationError:
        return 0


def _text_of(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def report_error(words: str) -> None:
    """Write an error into the job's comment, where `launcher status` finds it before the run has a state."""
    words = " ".join(f"{socket.gethostname()}: {words}".split())
    sys.stderr.write(f"error: {words}\n")
    comment = f"Comment={os.environ.get('LAUNCHER_COMMENT', '')} {words[:1000]}"
    command = ["scontrol", "update", f"JobId={os.environ.get('LAUNCHER_SLURM_JOB', '')}", comment]
    with suppress(OSError, subprocess.SubprocessError):
        subprocess.run(command, timeout=60, check=False, capture_output=True)


def main(arguments: Sequence[str]) -> int:
    what, run_dir = arguments[0], Path(arguments[1])
    try:
        path = run_dir / paths.PLAN
        plan = Plan.read(path.read_bytes(), str(path))
        if what == "attempt":
            _know_devices(plan)
            sys.stdout.write(f"{next_attempt(plan)}\n")
            return 0
        node, attempt = os.environ["SLURM_NODEID"], os.environ["LAUNCHER_SLURM_ATTEMPT"]
        _visible_devices(plan)
        forget_old_requests(plan.run_dir, float(os.environ["LAUNCHER_BEGAN"]))
        if node == "0":
            _bring_state(plan)
    except (LauncherError, OSError, ValueError) as error:
        report_error(f"{error}")
        return getattr(error, "exit_code", 1)
    os.chdir("/")
    program = [sys.executable, "-P", "-m", "launcher.node", str(run_dir / paths.PLAN)]
    os.execv(sys.executable, [*program, "--node", node, "--attempt", attempt])  # noqa: S606
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
