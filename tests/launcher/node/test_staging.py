"""What staging leaves free on the disk of the cache, and how a run ends whose cache fails."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.faults.disks import FullDisk, ReadOnlyDisk
from launcher.cli import main
from launcher.node.staging import _reserve_bytes, disk_bytes
from launcher.runfolder.states import State
from launcher.storage import ObjectStore
from launcher.submission.resume import resume
from tests.conftest import Jobs
from tests.launcher.backends.modelarts.jobs import make
from tests.servers.faults import Answer, Faults
from tests.servers.s3 import S3Server


def test_a_platform_that_empties_a_disk_that_is_nearly_full_gets_its_margin(tmp_path: Path) -> None:
    plan = make(tmp_path).model_copy(update={"cache_dir": str(tmp_path / "not" / "there" / "yet")})
    assert plan.keep_free == 0.1
    assert _reserve_bytes(plan) == int(disk_bytes(tmp_path) * 0.1)
    assert _reserve_bytes(plan.model_copy(update={"keep_free": 0.0})) == 0


@pytest.fixture(params=["full", "read-only"])
def cache_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FullDisk | ReadOnlyDisk]:
    """A disk for the cache of data sets, which can fail."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        disk = FullDisk(folder, 3) if request.param == "full" else ReadOnlyDisk(folder, 8)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("NOT TESTED: mounting a disk needs root and loop devices")
    yield disk
    disk.close()


WORDS = {
    FullDisk: ("no space left", "another folder"),
    ReadOnlyDisk: ("read-only file system", "another folder"),
}


def test_a_disk_of_the_cache_that_fails_while_a_run_stages(
    jobs: Jobs,
    radosgw: S3Server,
    faulty: ObjectStore,
    faults: Faults,
    cache_disk: FullDisk | ReadOnlyDisk,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The run ends with the folder's name and what to do, and a resume stages what is lacking."""
    for name, value in radosgw.env.items():
        monkeypatch.setenv(name, value)
    for number in range(6):
        faulty.put(f"images/big-{number}", bytes([number]) * 300_000)
    faults.clear()

    def fail(answer: Answer) -> None:
        cache_disk.fail()

    faults.add(fail, path="/big-3", times=1)
    cache = cache_disk.folder / "cache"
    data = {"url": f"{faulty.url}/images", "endpoint": faults.endpoint, "cache_dir": str(cache), "workers": 1}
    entry = jobs.submit(data=data)
    view = jobs.end(entry)
    assert (view.state, str(cache) in view.reason) == (State.FAILED, True), view.reason
    for words in WORDS[type(cache_disk)]:
        assert words in f"{view.reason}; {view.hint}"
    assert main(["wait", entry.run_id]) == 100
    assert view.reason in capsys.readouterr().err
    cache_disk.repair()
    faults.clear()
    assert jobs.end(resume(jobs.index.find(entry.run_id), jobs.index)).state is State.SUCCEEDED
    if isinstance(cache_disk, FullDisk):  # the other one lost what the kernel had not written yet
        assert faults.count("GET", "/big-0") == 0, "what was there is not fetched again"
