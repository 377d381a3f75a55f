"""Where runs happen: this machine, a real Slurm cluster of virtual nodes, or the ModelArts fake with containers as processes.

A platform says what a job file needs for it, where a run's directory and locks are as seen from here, and loses a machine.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launcher.devices.inventory import DeviceLocks
from launcher.runs.index import RunEntry
from tests.fakes.modelarts import FakeModelArts, account_of, exports, fake_modelarts
from tests.fakes.modelarts_jobs import Times
from tests.servers.s3 import S3Server, rclone_server
from tests.slurm.cluster import Cluster, running_cluster

NODES = 6


class Platform:
    """This machine."""

    name = "local"
    more_machines = False
    python = sys.executable
    """What a program is started with on its machines."""

    def __init__(self, folder: Path, server: S3Server) -> None:
        self.folder, self.server = folder, server
        self.env = dict(server.env)

    def sections(self) -> dict[str, Any]:
        """What a job file has for this platform."""
        return {"output": {"url": str(self.folder / "runs")}}

    def run_folder(self, entry: RunEntry) -> Path:
        return entry.run_dir.root

    def lock_folders(self, name: str) -> list[Path]:
        """Folders with the device locks of a run; `name` is that of its job."""
        return [self.folder / f"locks-{name}"]

    def held_locks(self, entry: RunEntry, name: str) -> list[str]:
        """Locks of the run that are held now."""
        owners = [
            owner for folder in self.lock_folders(name) for owner in DeviceLocks(folder).owners().values()
        ]
        return [str(owner) for owner in owners if owner is None or entry.run_id in owner.label]

    def lose_machine(self, entry: RunEntry) -> bool:
        """Whether a machine of the run was there to be lost."""
        raise NotImplementedError

    def bring_back(self) -> None:
        """All machines that were lost take runs again."""


class SlurmPlatform(Platform):
    name = "slurm"
    more_machines = True

    def __init__(self, folder: Path, server: S3Server, cluster: Cluster) -> None:
        super().__init__(folder, server)
        self.cluster = cluster
        self.env |= {**cluster.env, "LAUNCHER_LOCK_DIR": str(cluster.disk / "locks")}
        self._lost: set[str] = set()

    def sections(self) -> dict[str, Any]:
        return {
            "resources": {"backend": "slurm", "nodes": 1},
            "output": {"url": "s3://bucket/runs", "work_dir": str(self.cluster.disk / "work")},
            "slurm": {"exclusive": True, "log": str(self.cluster.folder / "log" / "job-%j.log")},
        }

    def run_folder(self, entry: RunEntry) -> Path:
        found = list(self.cluster.folder.glob(f"local/*/work/{entry.run_id}"))
        return max(found, key=lambda each: each.stat().st_mtime, default=self.cluster.folder / "nowhere")

    def lock_folders(self, name: str) -> list[Path]:
        return list(self.cluster.folder.glob("local/*/locks"))

    def lose_machine(self, entry: RunEntry) -> bool:
        assert entry.handle is not None
        number = str(entry.handle.data["job"])
        if self.cluster.job(number)["JobState"] != "RUNNING":
            return False
        host = self.cluster.hosts(number)[0]
        self.cluster.node("fail", host)
        self._lost.add(host)
        return True

    def bring_back(self) -> None:
        while self._lost:
            self.cluster.bring_back(self._lost.pop())


class ModelArtsPlatform(Platform):
    name = "modelarts"
    more_machines = True
    python = "python"

    def __init__(self, folder: Path, server: S3Server, fake: FakeModelArts) -> None:
        super().__init__(folder, server)
        self.fake = fake
        self.env |= {**exports(fake, account_of(server)), "LAUNCHER_NO_AGENCY": "1"}

    def sections(self) -> dict[str, Any]:
        code = str(Path(__file__).resolve().parents[2] / "tests" / "programs")
        return {
            "resources": {"backend": "modelarts", "nodes": 1, "time_limit": "1h"},
            "output": {"url": "obs://bucket/runs", "work_dir": str(self.folder / "work")},
            "modelarts": {
                "region": "cn-north-4",
                "image": "org/launcher:1",
                "flavor": "modelarts.vm.cpu.8u",
                "code": [code],
            },
        }

    def run_folder(self, entry: RunEntry) -> Path:
        return self.folder / "work" / entry.run_id

    def lock_folders(self, name: str) -> list[Path]:
        return list((self.folder / "containers").glob("*/node-*/locks"))

    def lose_machine(self, entry: RunEntry) -> bool:
        jobs = [job for job in self.fake.cloud.jobs.values() if job.name.startswith(entry.run_id)]
        running = [job for job in jobs if job.phase == "Running"]
        for job in running:
            self.fake.cloud.lose(job, 0)
        return bool(running)


@contextlib.contextmanager
def platform_of(name: str, folder: Path) -> Iterator[Platform]:
    """A platform that is up, and an S3 server with a bucket which its machines reach."""
    (folder / "s3" / "bucket").mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        cluster = None
        if name == "slurm":
            subprocess.run(["rm", "-rf", str(folder / "cluster")], check=True)
            settings = {"NODES": str(NODES), "DOWN_AFTER": "10", "REQUEUE_DELAY": "5", "SACCT": "0"}
            cluster = stack.enter_context(running_cluster(folder / "cluster", **settings))
        host = cluster.address if cluster else "127.0.0.1"
        server = stack.enter_context(rclone_server(folder / "s3", host=host))
        if cluster:
            yield SlurmPlatform(folder, server, cluster)
        elif name == "modelarts":
            times = Times(creating=0.05, pending=0.05)
            fake = stack.enter_context(fake_modelarts(account_of(server), folder / "containers", times=times))
            yield ModelArtsPlatform(folder, server, fake)
        else:
            yield Platform(folder, server)
