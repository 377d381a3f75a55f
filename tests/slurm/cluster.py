"""A real Slurm cluster of virtual nodes on this machine, and the processes on its nodes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from launcher.threads import environment
from tests.servers.process import Unavailable, dying_with_us
from tests.waiting import PATIENCE_S, wait_until

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Cluster:
    """`disk` is a folder that each node has for itself; `local_disk` is how the others see it."""

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "SLURM_VIRT_DIR": str(self.folder)}

    @property
    def disk(self) -> Path:
        return self.folder / "disk"

    def local_disk(self, node: str) -> Path:
        return self.folder / "local" / node

    @property
    def settings(self) -> dict[str, str]:
        lines = (self.folder / "settings").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    @property
    def address(self) -> str:
        """This machine's address, as the nodes see it."""
        return f"{self.settings['net']}.254"

    def call(self, *command: str, check: bool = True) -> str:
        """A command of Slurm."""
        done = subprocess.run(
            command,
            env={**environment(), **self.env},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def node(self, what: str, name: str) -> str:
        """start, fail, cut, heal or pids."""
        return self.call(str(HERE / "node.sh"), what, name)

    def inside(self, name: str, *command: str) -> None:
        """Run something in the mount namespace of a node."""
        pid = self.node("pids", name).split()[0]
        subprocess.run(["nsenter", "-t", pid, "-m", *command], check=True, timeout=PATIENCE_S)

    def job(self, number: str) -> dict[str, str]:
        """The fields of `scontrol show job`."""
        text = self.call("scontrol", "-o", "show", "job", number)
        return dict(word.split("=", 1) for word in text.split() if "=" in word)

    def hosts(self, number: str) -> list[str]:
        """The nodes of a job, the one of its batch script first."""
        return self.call("scontrol", "show", "hostnames", self.job(number)["NodeList"]).split()

    def bring_back(self, name: str) -> None:
        """A node that failed, was cut or is down takes jobs again."""
        with suppress(AssertionError):
            self.node("heal", name)
        self.node("start", name) if not self.node("pids", name) else None
        self.until(lambda: self._is_up(name), f"{name} is up")

    def _is_up(self, name: str) -> bool:
        state = self.call("sinfo", "-h", "-n", name, "-o", "%T")
        if state.startswith(("down", "drain")):
            self.call("scontrol", "update", f"nodename={name}", "state=resume", check=False)
        return state in ("idle", "mixed", "allocated")

    @staticmethod
    def until(condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
        wait_until(condition, what, timeout_s, poll_s=0.2)


def processes_of(run_id: str) -> list[int]:
    """Processes of a run on any node: all nodes are this machine's."""
    mark = f"LAUNCHER_RUN={run_id}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


@contextmanager
def running_cluster(folder: Path, **settings: str) -> Iterator[Cluster]:
    """Raises Unavailable where there can't be one."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        raise Unavailable("a cluster of virtual nodes needs root")
    missing = [name for name in ("slurmctld", "slurmd", "sbatch", "munged", "ip") if not shutil.which(name)]
    if missing:
        raise Unavailable(f"not installed: {', '.join(missing)} (.ci/install-servers)")
    cluster = Cluster(folder.resolve())
    env = {
        **environment(),
        "SLURM_VIRT_INSTALL": "0",
        **{f"SLURM_VIRT_{key}": value for key, value in settings.items()},
    }
    env.pop("SLURM_CONF", None)
    with _stopped_at_the_end(folder, env):
        done = subprocess.run(
            dying_with_us([str(HERE / "start-cluster.sh"), str(folder)]),
            env=env,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        if done.returncode:
            raise Unavailable(f"the cluster did not start: {done.stderr[-800:]}")
        if cluster.settings["mode"] != "netns":
            raise Unavailable("nodes can't have networks of their own here")
        yield cluster


@contextmanager
def _stopped_at_the_end(folder: Path, env: Mapping[str, str]) -> Iterator[None]:
    """The cluster and its files go when the block ends, or when this process does, however it ends."""
    waiting = 'head -c 1 >/dev/null; exec "$0" "$1"'
    stopper = subprocess.Popen(
        ["sh", "-c", waiting, HERE / "stop-cluster.sh", folder],
        env={**env, "SLURM_VIRT_PURGE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        stopper.communicate(b"\n", timeout=PATIENCE_S)
