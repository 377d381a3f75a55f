"""Access keys that are renewed, refused or end while a store is open, by a real server that judges them."""

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launcher.errors import StoreRefused, StoreUnreachable
from launcher.storage import ObjectStore, open_store
from launcher.storage.s3.errors import KeysExpired
from launcher.storage.s3.store import S3Store
from tests.servers.faults import fault_proxy, status
from tests.servers.process import Unavailable
from tests.servers.rotation import PAIRS, Rotation, rotating_server

pytestmark = pytest.mark.usefixtures("bare")


@pytest.fixture
def rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rotation]:
    (tmp_path / "s3" / "bucket").mkdir(parents=True)
    try:
        with rotating_server(tmp_path / "s3", tmp_path / "keys") as rotation:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", rotation.endpoint)
            yield rotation
    except Unavailable as error:
        pytest.skip(f"NOT TESTED, no S3 server: {error}")


def use(store: ObjectStore, folder: Path, name: str) -> None:
    """Every kind of request, through whichever engine."""
    info = store.put(name, b"data of " + name.encode())
    assert store.read(name) == b"data of " + name.encode()
    assert store.head(name) is not None
    assert name in [each.key for each in store.list()]
    store.get_file(name, folder / name, info)
    assert (folder / name).read_bytes() == b"data of " + name.encode()
    assert store.head("nothing-here") is None


@pytest.mark.parametrize("engine", ["auto", "boto3"])
@pytest.mark.parametrize("variable", ["AWS_SHARED_CREDENTIALS_FILE", "CREDENTIAL_PROFILES_FILE"])
@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", "AccessDenied"])
def test_an_open_store_outlives_three_renewals(
    rotation: Rotation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, variable: str, code: str
) -> None:
    monkeypatch.setenv("LAUNCHER_S3_ENGINE", engine)
    monkeypatch.setenv(variable, str(rotation.file))
    rotation.code = code
    store = open_store("obs://bucket/x", region="cn-north-4", patience_s=400.0)
    folder = store.substore("sub")
    for turn in range(4):
        use(folder, tmp_path, f"turn-{turn}")
        rotation.renew()
    assert isinstance(folder, S3Store)
    assert set(rotation.used) == {f"key-of-turn-{n}" for n in range(4)}
    if engine == "auto":
        assert folder._fast is not None
        assert folder._fast.fetched >= 4
    assert rotation.refused == 0  # the file was read before the store could refuse the old keys


@pytest.mark.parametrize("engine", ["auto", "boto3"])
def test_keys_that_end_before_new_ones_are_written_cost_only_time(
    rotation: Rotation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.setenv("LAUNCHER_S3_ENGINE", engine)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(rotation.file))
    store = open_store("obs://bucket/x", region="cn-north-4", patience_s=400.0)
    use(store, tmp_path, "before")
    rotation.expire()
    refused = threading.Event()
    judge = rotation.judge

    def note(key: str, path: str) -> tuple[int, str] | None:
        answer = judge(key, path)
        if answer is not None:
            refused.set()
        return answer

    rotation.faults.refuse = note
    writer = threading.Thread(target=lambda: refused.wait(400) and rotation.write())
    writer.start()
    use(store, tmp_path, "after")
    writer.join()
    assert refused.is_set()


def test_keys_that_nobody_renews_are_an_error_that_names_the_file(
    rotation: Rotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIAL_PROFILES_FILE", str(rotation.file))
    store = open_store("obs://bucket/x", region="cn-north-4", patience_s=0.1)
    rotation.expire()
    with pytest.raises(KeysExpired, match=r"have ended \(ExpiredToken\), and .*/keys has no new ones yet"):
        store.read("x")


def test_keys_in_variables_that_are_refused_give_way_to_a_file(
    rotation: Rotation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A platform that sets both renews the file only."""
    monkeypatch.setenv("ACCESS_KEY_ID", "key-of-turn-0")
    monkeypatch.setenv("SECRET_ACCESS_KEY", "secret-of-turn-0-0123456789")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(rotation.file))
    store = open_store("obs://bucket/x", region="cn-north-4", patience_s=400.0)
    use(store, tmp_path, "variables")
    for turn in range(3):
        rotation.renew()
        use(store, tmp_path, f"file-{turn}")
    assert set(rotation.used) == {f"key-of-turn-{n}" for n in range(4)}


def test_variables_that_change_are_read_again(
    rotation: Rotation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store("obs://bucket/x", region="cn-north-4", patience_s=400.0)
    for turn in range(3):
        monkeypatch.setenv("HUAWEICLOUD_SDK_AK", f"key-of-turn-{turn}")
        monkeypatch.setenv("HUAWEICLOUD_SDK_SK", f"secret-of-turn-{turn}-0123456789")
        monkeypatch.setenv("HUAWEICLOUD_SDK_SECURITY_TOKEN", f"token-{turn}")
        use(store, tmp_path, f"turn-{turn}")
        rotation.renew()
    assert rotation.refused == 0


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"])
def test_wrong_keys_are_refused_at_once(
    rotation: Rotation, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """Keys that do not end are not waited for."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    rotation.code = code
    with pytest.raises(StoreRefused):
        open_store("obs://bucket/x", region="cn-north-4", patience_s=400.0).put("x", b"1")
    assert rotation.refused == 1


def test_keys_that_come_after_the_store_was_opened(
    rotation: Rotation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIAL_PROFILES_FILE", str(tmp_path / "later"))
    store = open_store("obs://bucket/x", region="cn-north-4", patience_s=5.0)
    with pytest.raises(StoreRefused, match="no credentials"):
        store.put("x", b"1")
    rotation.file.rename(tmp_path / "later")
    use(store, tmp_path, "now")


def test_many_threads_and_renewals_in_between(
    rotation: Rotation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(rotation.file))
    store = open_store("obs://bucket/x", region="cn-north-4", patience_s=400.0)

    def work(worker: int) -> None:
        for turn in range(5):
            store.put(f"{worker}-{turn}", b"x" * 100)
            assert store.read(f"{worker}-{turn}") == b"x" * 100
            if worker == 0:
                rotation.renew()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len(list(store.list())) == 20


_PROCESS = """#!{python}
import datetime, json, pathlib, sys
count = pathlib.Path({count!r})
number = int(count.read_text()) if count.exists() else 0
count.write_text(str(number + 1))
answer = {answers!r}[min(number, {last})]
if answer == "fails":
    sys.exit("no network")
lives_s = 2000 if answer == "good" else -5
ends = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=lives_s)
keys = dict(Version=1, AccessKeyId="key-of-turn-0", SecretAccessKey={secret!r}, Expiration=ends.isoformat())
print("<html>" if answer == "page" else json.dumps(keys))
"""


@pytest.fixture
def profile(
    rotation: Rotation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[str]], str]:
    """Makes a profile whose `credential_process` gives such answers; the last one again and again."""
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    def make(answers: list[str]) -> str:
        program = tmp_path / "process"
        count, last = str(tmp_path / "count"), len(answers) - 1
        words = {"python": sys.executable, "count": count, "answers": answers, "last": last}
        program.write_text(_PROCESS.format(**words, secret=PAIRS["key-of-turn-0"]))
        program.chmod(0o755)
        (tmp_path / "config").write_text(f"[profile p]\ncredential_process = {program}\n")
        return "p"

    return make


@pytest.mark.parametrize(
    "answers", [["ended", "fails", "good"], ["ended", "ended", "good"], ["ended", "page", "good"]]
)
def test_a_process_that_fails_to_renew_keys_is_asked_again(
    profile: Callable[[list[str]], str], tmp_path: Path, answers: list[str]
) -> None:
    store = open_store("s3://bucket/x", profile=profile(answers), patience_s=400.0)
    use(store, tmp_path, "here")
    assert (tmp_path / "count").read_text() == "3"


@pytest.mark.parametrize("answer", ["fails", "page"])
def test_a_process_that_never_gave_keys_is_named_at_once(
    profile: Callable[[list[str]], str], answer: str
) -> None:
    store = open_store("s3://bucket/x", profile=profile([answer]), patience_s=400.0)
    with pytest.raises(StoreRefused, match="the keys can't be fetched") as caught:
        store.put("x", b"")
    assert "credential_process" in caught.value.hint


_ROLE = "role_arn = arn:aws:iam::123456789012:role/r"


@pytest.mark.parametrize(
    ("config", "what"),
    [
        (f"[profile p]\n{_ROLE}\nsource_profile = q\n", "fetched .*InvalidConfigError"),
        (
            f"[profile p]\n{_ROLE}\nsource_profile = q\n[profile q]\n{_ROLE}\nsource_profile = p\n",
            "fetched .*InfiniteLoop",
        ),
        (f"[profile p]\n{_ROLE}\ncredential_source = Foo\n", "fetched"),
        ("[profile p]\ncredential_process = /nonexistent/x\n", "fetched .*FileNotFoundError"),
        ("[profile p]\ncredential_process = /bin/echo []\n", "fetched"),
        ("[profile p]\ncredential_process = /bin/echo 'x\n", "fetched"),
        (f"[profile p]\n{_ROLE}\nweb_identity_token_file = /nonexistent/x\n", "fetched .*web-identity"),
        ("[profile p\nx\n", "configuration file can't be read"),
    ],
)
def test_a_profile_that_can_not_give_keys_is_named_at_once(
    rotation: Rotation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str, what: str
) -> None:
    """It is not the store that fails, nor its address."""
    (tmp_path / "config").write_text(config)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    store = open_store("s3://bucket/x", profile="p", patience_s=1e6)
    with pytest.raises(StoreRefused, match=what) as caught:
        store.put("x", b"")
    assert "~/.aws/config" in caught.value.hint


@pytest.mark.parametrize(
    ("service", "problem"),
    [("refuses", StoreRefused), ("fails", StoreUnreachable), ("is down", StoreUnreachable)],
)
def test_a_service_of_roles_that_gives_no_keys_is_not_the_store(
    rotation: Rotation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    service: str,
    problem: type[Exception],
) -> None:
    (tmp_path / "token").write_text("a web identity")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r")
    answer = (403, "AccessDenied") if service == "refuses" else (500, "InternalFailure")
    with fault_proxy(rotation.endpoint) as roles:
        roles.add(status(*answer), method="POST")
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", roles.endpoint)
        if service == "is down":
            monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        with pytest.raises(problem, match=r"the keys can't be fetched .*assume-role-with-web-identity"):
            open_store("s3://bucket/x", patience_s=0.1).put("x", b"")
    assert rotation.faults.seen == []
