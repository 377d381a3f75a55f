"""The back end `local`: one detached node program on this machine."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.backends.base import Backend, Handle, Life
from launcher.errors import BackendError
from launcher.findings import Finding
from launcher.portable import boot_id, lacks_of_linux

if TYPE_CHECKING:  # importing it takes half of the time of a status
    from launcher.jobfile.spec import JobSpec
    from launcher.plan.machines import Machines
    from launcher.plan.model import Plan


class LocalBackend(Backend):
    """Starts `python -m launcher.node PLAN` in a session of its own, so that it outlives the terminal."""

    def machines(self, spec: JobSpec, env: Mapping[str, str], cwd: Path) -> Machines:
        from launcher.plan.machines import Machines
        from launcher.runfolder.paths import home

        return Machines(_python(spec.local.python, env, cwd), spec.local, home(env), cwd, links_files=True)

    def rules(self, plan: Plan) -> Sequence[Finding]:
        findings = []
        if plan.nodes != 1:
            findings.append(
                Finding(
                    rule="LO001",
                    severity="error",
                    message=f"the back end 'local' is one machine, the job asks for {plan.nodes} nodes",
                    where="resources.nodes",
                    fix="set resources.nodes to 1, or choose another back end",
                )
            )
        cores = os.cpu_count() or 1
        if plan.device == "cpu" and plan.devices_per_node > cores:
            findings.append(_too_many_ranks(plan, cores))
        return findings

    def check(self, plan: Plan) -> Sequence[Finding]:
        from launcher.plan.model import NPU_DEVICES

        if lacking := lacks_of_linux():
            return [_needs_linux(lacking)]
        findings = _check_packages(plan)
        if plan.device in NPU_DEVICES:
            findings += _check_npus(plan)
        return findings

    def render(self, plan: Plan, attempt: int) -> str:
        return shlex.join(self._command(plan, attempt)) + "\n"

    def submit(self, plan: Plan, attempt: int) -> Handle:
        console = plan.run_dir.root / "console.log"
        command = self._command(plan, attempt)
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(console), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inheritable()),
        ]
        try:
            pid = os.posix_spawn(  # a signal stays pending until the node program unblocks it
                command[0],
                command,
                os.environ,
                file_actions=files,
                setsid=True,
                setsigmask=(signal.SIGTERM, signal.SIGINT),
            )
        except OSError as error:
            raise BackendError(f"can't start the node program: {error}", where=str(console)) from error
        return Handle(
            backend="local", host=socket.gethostname(), data={"pid": pid, "started": process_identity(pid)}
        )

    def poll(self, handles: Sequence[Handle]) -> Sequence[Life]:
        return [
            Life(alive=None, detail=f"it runs on {h.host}")
            if h.host != socket.gethostname()
            else Life(alive=_alive(h))
            for h in handles
        ]

    def cancel(self, handle: Handle) -> None:
        if handle.host == socket.gethostname() and _alive(handle):
            with contextlib.suppress(ProcessLookupError):
                os.kill(handle.data["pid"], signal.SIGTERM)

    @staticmethod
    def _command(plan: Plan, attempt: int) -> list[str]:
        return [
            sys.executable,
            "-m",
            "launcher.node",
            str(plan.run_dir.plan),
            "--node",
            "0",
            "--attempt",
            str(attempt),
        ]


def _needs_linux(lacking: str) -> Finding:
    return Finding(
        rule="LO005",
        severity="error",
        message=f"the back end 'local' starts runs on Linux only; this system has no {lacking}",
        where="resources.backend",
        fix="name another back end, or type it on a Linux machine",
    )


def _too_many_ranks(plan: Plan, cores: int) -> Finding:
    return Finding(
        rule="LO004",
        severity="warning",
        message=f"{plan.devices_per_node} CPU ranks on {cores} cores: the run would wait for cores that are not there",
        where="resources.devices_per_node",
        fix=f"use at most {cores} on this machine",
    )


def _python(named: str | None, env: Mapping[str, str], cwd: Path) -> str:
    """The job's Python as a whole path, since ranks run in other folders. A name that PATH does not have stays as it is."""
    if named is None:
        return sys.executable
    if "/" not in named and not named.startswith("~"):
        return shutil.which(named, path=env.get("PATH", os.defpath)) or named
    return str(
        (cwd / Path(named).expanduser()).absolute()
    )  # not resolved: a link tells a virtual environment


def process_identity(pid: int) -> str:
    """Boot id and start time of a process: with its pid, unique for ever. Empty when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat[stat.rindex(")") + 2 :].split()
    return "" if fields[0] in "ZX" else f"{boot_id()}/{fields[19]}"


def _inheritable() -> list[int]:
    """Descriptors that this process inherited. The run must not keep a lock or a pipe of a script open.

    One above the limit of open files, which was lowered since, can't be named to posix_spawn: it ends with our copy.
    """
    import resource  # laptops may lack it, and start no run

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    descriptors = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, not paths
        with contextlib.suppress(OSError):  # the descriptor of this listing itself
            if int(name) > 2 and os.get_inheritable(int(name)):
                if 0 <= limit <= int(name):
                    os.set_inheritable(int(name), False)
                else:
                    descriptors.append(int(name))
    return descriptors


def _alive(handle: Handle) -> bool:
    with contextlib.suppress(ChildProcessError):  # it is our child only when this very process submitted it
        os.waitpid(handle.data["pid"], os.WNOHANG)
    return bool(handle.data["started"]) and process_identity(handle.data["pid"]) == handle.data["started"]


def _check_npus(plan: Plan) -> list[Finding]:
    from launcher.devices.inventory import check_addresses, check_chip, list_devices
    from launcher.errors import LauncherError

    try:
        devices = list_devices(plan.device, addresses=False)
    except LauncherError:  # no npu-smi, or no driver behind it
        devices = ()
    if wrong := check_chip(plan.device, devices):
        return wrong
    count = len(devices)
    if count >= plan.devices_per_node:
        return check_addresses([device.device_id for device in devices])
    return [
        Finding(
            rule="LO003",
            severity="error",
            message=f"the job asks for {plan.devices_per_node} {plan.device} devices, this machine has {count}",
            where="resources.devices_per_node",
            fix="run it where the devices are; here, `--dry-run` shows the plan and `--rehearse` runs it on one CPU device",
        )
    ]


def _check_packages(plan: Plan) -> list[Finding]:
    """Import what the user's program needs with its own Python; the packages of vitmodels are only looked for."""
    from launcher.plan.packages import ask_packages, python_of

    python, found = python_of(plan), ask_packages(plan, load=True)
    packages = " ".join(found.failed) if plan.own_program else "'ascend-launcher[train]'"
    fix = f"{python} -m pip install {packages}, or set local.python to a Python that has it"
    findings = [
        Finding("LO002", "error", f"{python} can't import {name}: {reason}", "local.python", fix)
        for name, reason in found.failed.items()
    ]
    if found.problem:
        message = f"{python} does not tell which packages it has: {found.problem}"
        fix = f"try {python} -c 'import {', '.join(plan.requires)}'"
        findings.append(Finding("LO002", "warning", message, "local.python", fix))
    return findings
