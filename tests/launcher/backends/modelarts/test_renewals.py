"""Runs whose keys are temporary and come as a file: the platform renews them, sometimes late, and the old ones are refused."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from launcher.backends.modelarts.container_access import check_access, keys_words
from launcher.errors import StoreRefused
from launcher.runs.index import RunEntry
from launcher.storage import open_store
from tests.launcher.backends.modelarts.site import TOTAL, Site, served_bucket, well
from tests.launcher.node.machines import Machines
from tests.servers.faults import fault_proxy, status
from tests.servers.rotation import Rotation, rotating_keys
from tests.servers.s3 import S3Server
from tests.waiting import wait_until
from vitmodels.digits import write_image

ROOT = Path(__file__).parents[4]
pytestmark = pytest.mark.system


@pytest.fixture
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[S3Server, Path]]:
    """New for each test: a server shows what is written into its folder behind its back up to a second late."""
    with served_bucket(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture
def rotation(s3: tuple[S3Server, Path], tmp_path: Path) -> Iterator[Rotation]:
    """On the site's own server: a second one on the same folder shows new objects up to a second late, which no store does."""
    with rotating_keys(s3[0].endpoint, tmp_path / "keys-of-the-platform") as rotation:
        yield rotation


def keys_of_the_file_only(rotation: Rotation, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has no other keys."""
    for name in ("HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", rotation.endpoint)
    monkeypatch.setenv("CREDENTIAL_PROFILES_FILE", str(rotation.file))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(rotation.file) + ".none")


def held(site: Site) -> dict[str, str]:
    """Environment of a run that waits for each renewal."""
    return {"HOLD_AT": "1,2,3", "RELEASE": str(site.folder / "renewed")}


def renew_thrice(site: Site, rotation: Rotation, entry: RunEntry) -> None:
    """While the run counts: keys end, are refused, and are renewed only then."""
    for step in (1, 2, 3):
        site.until(entry, lambda view, step=step: view.progress.step == step or view.state.terminal)
        refused = rotation.refused
        rotation.expire()
        wait_until(lambda refused=refused: rotation.refused > refused, "a refusal")
        rotation.write()
        key = f"key-of-turn-{rotation.turn}"
        wait_until(lambda key=key: key in rotation.used, f"a request with {key}")
        (site.folder / f"renewed-{step}").touch()


def test_a_job_outlives_three_renewals(site: Site, rotation: Rotation) -> None:
    """Two containers: they read their plan, meet, count, upload checkpoints and results with four pairs of keys."""
    host = rotation.endpoint.partition("://")[2]
    site.fake.cloud.extra_env |= {"S3_ENDPOINT": host, "AWS_SHARED_CREDENTIALS_FILE": str(rotation.file)}
    site.fake.cloud.extra_env |= {"ACCESS_KEY_ID": "", "SECRET_ACCESS_KEY": ""}
    entry = site.submit(env=held(site))
    renew_thrice(site, rotation, entry)
    well(site, entry)
    assert site.view(entry).attempt == 1
    assert {f"key-of-turn-{turn}" for turn in range(4)} <= set(rotation.used)
    console = site.console(entry)
    assert (
        f"obs:// goes through boto3, with temporary keys from {rotation.file}, good for another 14 min"
        in console
    )
    assert "the run's folder can be listed, written, read and deleted in" in console
    assert "secret-of-turn" not in console
    assert "token-of-turn" not in console


@pytest.mark.slow
def test_a_run_on_this_machine_outlives_three_renewals(
    site: Site, rotation: Rotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys_of_the_file_only(rotation, monkeypatch)
    entry = site.submit(
        resources={"backend": "local", "nodes": 1, "device": "cpu"}, modelarts=None, env=held(site)
    )
    renew_thrice(site, rotation, entry)
    view = site.end(entry)
    assert (view.state, view.attempt) == ("SUCCEEDED", 1), view.reason
    assert site.result(entry) == TOTAL
    assert {f"key-of-turn-{turn}" for turn in range(4)} <= set(rotation.used)


# ---- staging, training and upload, each longer than the life of three pairs of keys

EVERY = 12


def write_images(folder: Path) -> None:
    """Four classes with 16 images for training and two for validation each."""
    dice = np.random.default_rng(0)
    for name, count in (("train", 16), ("val", 2)):
        for kind in range(4):
            for number in range(count):
                grey = dice.random((8, 8)) * 4 + 4 * kind
                write_image(folder / name / str(kind) / f"{number}.jpg", grey)


def outlived(rotation: Rotation, run_id: str) -> None:
    """Data were read with more than three pairs of keys, and so were results written after the first checkpoint."""
    assert rotation.renewals("/images/") >= 3
    assert rotation.renewals(f"/{run_id}/", after=f"/{run_id}/checkpoints/step-") >= 3
    assert rotation.refused > 0


REAL = {
    "program": None,
    "model": {
        "config": "vitmodels/configs/tnt_digits.yaml",
        "set": {"epochs": 4, "batch_size": 8, "warmup_length": 1, "num_classes": 4},
    },
    "data": {"url": "obs://bucket/images"},
    "after": {"eval": True, "export": []},
}


@pytest.mark.slow
def test_a_training_on_the_platform_outlives_three_renewals_in_each_of_its_phases(
    site: Site, rotation: Rotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MindSpore's own, from a bucket into a bucket."""
    monkeypatch.chdir(ROOT)
    write_images(site.bucket / "images")
    host = rotation.endpoint.partition("://")[2]
    site.fake.cloud.extra_env |= {"S3_ENDPOINT": host, "AWS_SHARED_CREDENTIALS_FILE": str(rotation.file)}
    site.fake.cloud.extra_env |= {"ACCESS_KEY_ID": "", "SECRET_ACCESS_KEY": ""}
    rotation.every = EVERY
    entry = site.submit(resources={"nodes": 1}, **REAL)
    view = site.end(entry)
    assert (view.state, view.attempt) == ("SUCCEEDED", 1), f"{view.reason}\n{site.console(entry)}"
    outlived(rotation, entry.run_id)


@pytest.mark.slow
def test_a_run_on_this_machine_stages_counts_and_uploads_with_keys_that_end(
    site: Site, rotation: Rotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(site.bucket / "images")
    keys_of_the_file_only(rotation, monkeypatch)
    rotation.every = EVERY
    entry = site.submit(
        resources={"backend": "local", "nodes": 1, "device": "cpu"},
        modelarts=None,
        data={"url": "obs://bucket/images"},
        env={"STEP_S": "0.5"},
    )
    view = site.end(entry)
    assert (view.state, view.attempt) == ("SUCCEEDED", 1), view.reason
    assert site.result(entry) == TOTAL
    outlived(rotation, entry.run_id)


@pytest.mark.slow
def test_two_node_programs_stage_count_and_upload_with_keys_that_end(
    site: Site, rotation: Rotation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a cluster's batch script starts them: one on each machine, all with the file of the person who submitted."""
    write_images(site.bucket / "images")
    keys_of_the_file_only(rotation, monkeypatch)
    machines = Machines(tmp_path, "obs://bucket/runs")
    machines.plan(data={"url": "obs://bucket/images"}, env={"STEP_S": "0.5"})
    rotation.every = EVERY
    try:
        machines.start(0, 1)
        assert machines.codes() == [0, 0], machines.log(0)
    finally:
        machines.end()
    rotation.every = 0
    assert (machines.state.state, machines.state.attempt) == ("SUCCEEDED", 1)
    outlived(rotation, machines.run_id)


# ---- the first requests of a container


@pytest.mark.parametrize(("method", "step"), [("GET", "list"), ("PUT", "write")])
def test_what_a_container_may_not_do_is_named(
    s3: tuple[S3Server, Path], site: Site, monkeypatch: pytest.MonkeyPatch, method: str, step: str
) -> None:
    with fault_proxy(s3[0].endpoint) as faults:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", faults.endpoint)
        faults.add(status(403, "AccessDenied"), method=method)
        store = open_store("obs://bucket/access", patience_s=60.0)
        with pytest.raises(
            StoreRefused, match=f"may not {step} in the run's folder: access denied"
        ) as caught:
            check_access(store, 0)
    assert "the agency of ModelArts" in caught.value.hint


def test_a_container_that_may_not_delete_goes_on(
    s3: tuple[S3Server, Path], site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with fault_proxy(s3[0].endpoint) as faults:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", faults.endpoint)
        faults.add(status(403, "AccessDenied"), method="DELETE")
        check_access(open_store("obs://bucket/access", patience_s=60.0), 0)
    assert "may not delete in the run's folder" in caplog.text


def test_where_keys_are_from_is_said_without_them(tmp_path: Path) -> None:
    env = {"ACCESS_KEY_ID": "AK-visible", "SECRET_ACCESS_KEY": "never-shown", "HOME": str(tmp_path)}
    assert keys_words(env, "boto3") == "with keys from ACCESS_KEY_ID in the environment"
    assert keys_words({**env, "SECURITY_TOKEN": "t"}, "boto3").startswith(
        "with temporary keys from ACCESS_KEY_ID"
    )
    assert "of its own" in keys_words(env, "moxing")
