"""Real servers for the storage tests, started once a session and only when a test asks for them."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from launcher.storage import ObjectStore, open_store
from tests.servers.faults import Faults, fault_proxy
from tests.servers.kube import KubeServer, kube_server
from tests.servers.process import Unavailable
from tests.servers.radosgw import radosgw_server
from tests.servers.s3 import S3Server, rclone_server
from tests.servers.stores import BUCKET, open_on


def _missing(reason: str) -> None:
    """Skip, loudly; where all servers are expected (LAUNCHER_TEST_SERVERS=required) fail instead."""
    if os.environ.get("LAUNCHER_TEST_SERVERS") == "required":
        pytest.fail(f"a server that this machine should have can't start: {reason}")
    pytest.skip(f"NOT TESTED, no server: {reason}")


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """`rclone serve s3` with an empty bucket."""
    folder = tmp_path_factory.mktemp("rclone")
    (folder / BUCKET).mkdir()
    try:
        with rclone_server(folder) as server:
            yield server
    except Unavailable as error:
        _missing(str(error))


@pytest.fixture(scope="session")
def radosgw() -> Iterator[S3Server]:
    """Ceph radosgw with an empty bucket."""
    try:
        with radosgw_server() as server:
            server.client().create_bucket(Bucket=BUCKET)
            yield server
    except Unavailable as error:
        _missing(str(error))


@pytest.fixture(scope="session")
def kube() -> Iterator[KubeServer]:
    """A real Kubernetes API server."""
    try:
        with kube_server() as server:
            yield server
    except Unavailable as error:
        _missing(str(error))


@pytest.fixture(params=["file", "memory", "rclone", "radosgw"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store, of each kind in turn."""
    if request.param == "file":
        return open_store(str(tmp_path / "file-store"))
    if request.param == "memory":
        return open_store(f"memory://{uuid.uuid4().hex}/some/folder")
    return open_on(request.getfixturevalue(request.param))


@pytest.fixture(params=["auto", "boto3"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way to fetch small objects, in turn, for this process and those it starts."""
    monkeypatch.setenv("LAUNCHER_S3_ENGINE", request.param)
    return str(request.param)


@pytest.fixture
def faults(radosgw: S3Server) -> Iterator[Faults]:
    """A proxy before radosgw, with no fault in force yet."""
    with fault_proxy(radosgw.endpoint) as proxy:
        yield proxy


@pytest.fixture
def faulty(radosgw: S3Server, faults: Faults) -> ObjectStore:
    """A store behind the proxy."""
    return open_on(radosgw, endpoint=faults.endpoint)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB and 100 inodes, to fill up."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m,nr_inodes=100", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("NOT TESTED: mounting a small tmpfs needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
