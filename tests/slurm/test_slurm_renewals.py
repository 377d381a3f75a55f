"""Temporary keys that come as a file and end again and again while nodes of a cluster stage, train and upload."""

from pathlib import Path

import pytest

from launcher.runfolder.states import State
from tests.servers.rotation import PAIRS, rotating_keys
from tests.servers.s3 import rclone_server
from tests.servers.stores import BUCKET
from tests.slurm.jobs import SlurmJobs

KEYS = ("HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
EVERY = 12
"""Requests for which a pair of keys is good."""
pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_run_on_two_nodes_outlives_three_renewals_in_each_of_its_phases(
    jobs: SlurmJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tmp_path / BUCKET / "images"
    images.mkdir(parents=True)
    for number in range(60):
        (images / f"{number}.bin").write_bytes(bytes([number]) * 100)
    host, file = jobs.cluster.address, jobs.cluster.folder / "renewed-keys"
    with (
        rclone_server(tmp_path, host=host, more_keys=PAIRS) as server,
        rotating_keys(server.endpoint, file, host) as rotation,
    ):
        for name in KEYS:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
        rotation.every = EVERY
        place = {"endpoint": rotation.endpoint}
        data = {"url": f"s3://{BUCKET}/images", "cache_dir": str(jobs.cluster.disk / "cache"), **place}
        env = {"STEPS": "80", "STEP_S": "0.1"}  # 40 checkpoints, each of which goes up
        entry = jobs.submit("renewed", env=env, data=data, output=place)
        view = jobs.end(entry)
        assert (view.state, view.attempt) == (State.SUCCEEDED, 1), f"{view.reason}\n{jobs.log(entry)}"
        assert rotation.renewals("/images/") >= 3
        assert rotation.renewals(f"/{entry.run_id}/", after=f"/{entry.run_id}/checkpoints/step-") >= 3
        assert rotation.refused > 0
        assert "secret-of-turn" not in jobs.log(entry)
        jobs.nothing_is_left(entry)
    jobs.entries.remove(entry)
