"""OBS opened with the keys of a cloud machine's agency."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.errors import StoreRefused
from launcher.storage import open_store
from launcher.storage.s3 import agency
from launcher.storage.s3.errors import KeysExpired
from launcher.storage.s3.store import S3Store
from tests.fakes.metadata import MetadataServer, metadata_service
from tests.fakes.modelarts_wire import Account
from tests.servers.s3 import S3Server


@pytest.fixture
def machine(rclone: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[MetadataServer]:
    """A machine that has an agency, and nothing else that opens a bucket."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "HUAWEICLOUD_SDK_AK", "ACCESS_KEY_ID", agency.SWITCH):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "HUAWEICLOUD_SDK_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", rclone.endpoint)
    with metadata_service(Account(rclone.access_key, rclone.secret_key, "p", token="t")) as server:
        monkeypatch.setattr(agency, "ENDPOINT", server.address)
        yield server


def test_a_bucket_is_opened_and_the_keys_are_asked_for_once(machine: MetadataServer) -> None:
    for _ in range(3):
        store = open_store("obs://bucket/agency")
        store.put("x", b"here")
        assert store.read("x") == b"here"
    assert machine.asked == 1


def test_the_fast_path_uses_them(machine: MetadataServer, tmp_path: Path) -> None:
    store = open_store("obs://bucket/agency")
    info = store.put("z", b"here")
    assert [each.key for each in store.list("z")] == ["z"]
    store.get_file("z", tmp_path / "z", info)
    assert isinstance(store, S3Store)
    assert store._fast is not None
    assert (store._fast.fetched, machine.asked) == (1, 1)


def test_keys_that_run_out_are_renewed(machine: MetadataServer) -> None:
    machine.lives_s = 60.0  # botocore renews in the last minutes
    store = open_store("obs://bucket/agency")
    for _ in range(3):
        store.put("y", b"here")
    assert machine.asked >= 3


@pytest.mark.parametrize("answer", [(500, "try later"), (200, "<html>"), (200, "{}")])
def test_a_renewal_that_fails_costs_nothing_while_the_keys_are_good(
    machine: MetadataServer, answer: tuple[int, str]
) -> None:
    machine.lives_s = 60.0
    store = open_store("obs://bucket/agency", patience_s=1.0)
    store.put("w", b"here")
    asked = machine.asked
    machine.status, machine.text = answer
    store.put("w", b"there")
    assert store.read("w") == b"there"
    assert machine.asked > asked


def test_keys_that_have_ended_already_are_waited_for(machine: MetadataServer) -> None:
    """As a service gives them that is late to renew its own."""
    machine.ended, machine.lives_s = 4, 60.0
    store = open_store("obs://bucket/agency", patience_s=400.0)
    store.put("v", b"here")
    assert (machine.ended, store.read("v")) == (0, b"here")
    machine.ended = 1000
    machine.lives_s = -60.0
    with pytest.raises(KeysExpired, match=r"obs://.*/v: the temporary keys that agency gives have ended"):
        open_store("obs://bucket/agency", patience_s=0.5).put("v", b"")


@pytest.mark.parametrize(
    "answer", [(401, "Please configure Cloud Service Agency first"), (200, "<html>"), (200, "[]")]
)
def test_without_an_agency_there_are_no_credentials(machine: MetadataServer, answer: tuple[int, str]) -> None:
    machine.status, machine.text = answer
    with pytest.raises(StoreRefused, match="no credentials"):
        open_store("obs://bucket/agency", patience_s=1.0).read("x")


def test_other_services_never_ask_for_it(machine: MetadataServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreRefused, match="no credentials"):
        open_store("s3://bucket/agency", patience_s=1.0).read("x")
    monkeypatch.setenv(agency.SWITCH, "1")
    with pytest.raises(StoreRefused, match="no credentials"):
        open_store("obs://bucket/agency", patience_s=1.0).read("x")
    assert machine.asked == 0
