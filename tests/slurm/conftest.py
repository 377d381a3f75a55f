"""One cluster and one S3 server, which its nodes reach, for all tests of this folder; and jobs on them."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from launcher.backends.slurm import backend as slurm
from tests.servers.process import Unavailable
from tests.servers.s3 import S3Server, rclone_server
from tests.servers.stores import BUCKET
from tests.slurm.cluster import Cluster, running_cluster
from tests.slurm.jobs import SlurmJobs

NODES = 20


def _missing(reason: str) -> None:
    """Skip, loudly; where Slurm is expected (LAUNCHER_TEST_SLURM=required) fail instead."""
    if os.environ.get("LAUNCHER_TEST_SLURM") == "required":
        pytest.fail(f"Slurm should run on this machine: {reason}")
    pytest.skip(f"NOT TESTED, no Slurm: {reason}")


@pytest.fixture(scope="session")
def running() -> Iterator[Cluster]:
    """The cluster of the session. Nothing of this process is changed for it."""
    folder = Path(tempfile.mkdtemp(prefix="svt-"))
    database = "1" if shutil.which("slurmdbd") and shutil.which("mariadbd") else "0"
    settings = {
        "NODES": str(NODES),
        "DOWN_AFTER": "40",
        "REQUEUE_DELAY": "30",
        "WAIT": "300",
        "SACCT": database,
    }
    try:
        with running_cluster(folder, **settings) as cluster:
            yield cluster
    except Unavailable as error:
        _missing(str(error))


@pytest.fixture(scope="session")
def server(running: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server that the nodes reach."""
    folder = tmp_path_factory.mktemp("rclone")
    (folder / BUCKET).mkdir()
    with rclone_server(folder, host=running.address) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(running: Cluster) -> Iterator[Cluster]:
    """The cluster, with the environment of somebody who works on it. Other modules of this process have their own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in running.env.items():
            patch.setenv(name, value)
        patch.setenv("LAUNCHER_HOME", str(running.folder / "home"))
        patch.setenv("LAUNCHER_LOCK_DIR", str(running.disk / "locks"))
        patch.setattr(slurm, "PAUSE_S", 0.0)
        yield running


@pytest.fixture(scope="module")
def s3(cluster: Cluster, server: S3Server) -> Iterator[S3Server]:
    """The server, with its variables set."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.env.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(scope="module")
def jobs(cluster: Cluster, s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmJobs]:
    jobs = SlurmJobs(cluster, tmp_path_factory.mktemp("jobs"), s3.endpoint)
    yield jobs
    for entry in jobs.entries:
        if entry.run_id not in jobs.ended:
            cluster.call("scancel", jobs.number(entry), check=False)
