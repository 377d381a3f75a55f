"""A bucket with a real server, a site (this machine, the fake service, containers as processes), and a job of a module's service."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.backends.modelarts.request import job_request
from tests.fakes.modelarts import FakeModelArts
from tests.fakes.modelarts_jobs import Job
from tests.launcher.backends.modelarts.jobs import make
from tests.launcher.backends.modelarts.site import Site, served_bucket, site_on
from tests.servers.s3 import S3Server


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[S3Server, Path]]:
    with served_bucket(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture
def site(s3: tuple[S3Server, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with site_on(*s3, tmp_path, monkeypatch) as site:
        yield site


@pytest.fixture
def job(fake: FakeModelArts, tmp_path: Path) -> Job:
    made = fake.cloud.create(job_request(make(tmp_path), 1).body())
    made.phase = "Running"
    return made
