"""A run's folder is data from a stranger until a signature proves that it is ours: nothing of it runs, and nothing is sent
to an address that it names."""

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.cli import main
from launcher.errors import LauncherError, PlanError
from launcher.runfolder.signature import is_ours, sign
from launcher.runs.index import Index
from launcher.runs.trust import Untrusted, find_plan
from launcher.runs.view import view_of
from launcher.submission.resume import resume
from launcher.submission.retry import retry
from tests.launcher.samples import Sample
from tests.waiting import wait_until

TEAM = "the key of the whole team"


@pytest.fixture
def stranger(jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a folder that somebody with another home has made, with a run that FAILED; its programs leave a file behind."""
    entry = jobs.submit(env={"FAIL_AT": "4:0:exit 2"})
    jobs.end(entry)
    monkeypatch.setenv("LAUNCHER_HOME", str(tmp_path / "my-home"))
    return str(entry.store.url)


def folder(url: str) -> Path:
    return Path(url.removeprefix("file://"))


def change_plan(url: str, **values: Any) -> None:
    path = folder(url) / "plan.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("command", ["retry", "resume"])
def test_programs_of_a_stranger_are_shown_and_do_not_run(
    command: str, stranger: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "ran"
    step = {"name": "train", "argv": ["/usr/bin/touch", f"{mark}", "\x1b[2J"], "ranks": "first"}
    change_plan(stranger, steps=[step])
    before = sorted(path.name for path in folder(stranger).rglob("*"))
    assert main([command, stranger]) == 2
    shown = capsys.readouterr().err
    assert f"train: /usr/bin/touch {mark}" in shown
    assert "\x1b" not in shown
    assert f"launcher {command} {stranger} --trust" in shown
    assert not mark.exists()
    assert sorted(path.name for path in folder(stranger).rglob("*")) == before
    assert Index().ids() == []


@pytest.mark.parametrize("start", [retry, resume])
def test_trust_runs_it(start: Any, stranger: str, tmp_path: Path) -> None:
    index = Index()
    with pytest.raises(Untrusted):
        start(index.find(stranger), index)
    entry = start(index.find(stranger), index, trust=True)
    wait_until(lambda: view_of(entry, index).state.terminal, "its end")
    assert str(entry.run_dir.root).startswith(str(tmp_path / "my-home"))
    assert find_plan(index.find(entry.run_id)).ours


def test_a_key_of_the_team_needs_no_trust(jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHER_SIGNING_KEY", TEAM)
    entry = jobs.submit(env={"FAIL_AT": "4:0:exit 2"})
    jobs.end(entry)
    monkeypatch.setenv("LAUNCHER_HOME", str(tmp_path / "my-home"))
    index = Index()
    resumed = resume(index.find(entry.store.url), index)
    wait_until(lambda: view_of(resumed, index).state.terminal, "its end")
    monkeypatch.setenv("LAUNCHER_SIGNING_KEY", "another key, quite long")
    monkeypatch.setenv("LAUNCHER_HOME", str(tmp_path / "third-home"))
    with pytest.raises(Untrusted):
        retry(Index().find(entry.store.url), Index())


def test_one_changed_byte_of_a_signed_plan_is_noticed(
    launcher_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = b'{"steps": []}'
    for key in ("", TEAM):
        monkeypatch.setenv("LAUNCHER_SIGNING_KEY", key)
        signature = sign(text)
        assert is_ours(text, signature)
        assert not is_ours(text + b" ", signature)
        for damaged in (b"", signature[:-2], b"\xff" * 65, b"0" * 64, b"x" * 1_000_000):
            assert not is_ours(text, damaged)


def test_the_key_is_private_and_made_once(launcher_home: Path) -> None:
    first = sign(b"a")
    assert (launcher_home / "signing.key").stat().st_mode & 0o777 == 0o600
    assert sign(b"a") == first
    (launcher_home / "signing.key").write_text("")
    with pytest.raises(LauncherError, match="this is no key"):
        sign(b"a")


def test_a_short_key_is_refused(launcher_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHER_SIGNING_KEY", "secret")
    with pytest.raises(LauncherError, match="too short"):
        sign(b"a")


class Listener:
    """An address of the stranger: counts who comes."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    @property
    def was_asked(self) -> bool:
        try:
            self._socket.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK"):
        monkeypatch.setenv(name, "a-credential")
    listener = Listener()
    yield listener
    listener.close()


LOOKS = (
    "status",
    "logs",
    "explain",
    "cancel",
    "wait --timeout 0",
    "retry",
    "resume",
    "delete",
    "fetch-results",
)


@pytest.mark.parametrize("command", LOOKS)
@pytest.mark.parametrize("backend", ["local", "modelarts"])
def test_no_command_calls_at_an_address_of_the_folder(
    backend: str, command: str, launcher_home: Path, tmp_path: Path, listener: Listener, monkeypatch: Any
) -> None:
    sample = Sample(tmp_path)
    url = (tmp_path / "theirs" / sample.entry.run_id).as_uri()
    shutil.copytree(sample.root, folder(url))
    store = {**sample.plan.store.model_dump(), "url": url, "endpoint": listener.address, "profile": "theirs"}
    data = {**store, "url": "s3://theirs/data"}
    options = (
        {"endpoint": listener.address, "region": "x", "project_id": "p"} if backend == "modelarts" else {}
    )
    change_plan(url, store=store, data=data, checkpoint=data, backend=backend, options=options)
    state = json.loads((folder(url) / "state.json").read_text())
    state |= {"state": "RUNNING" if command in ("status", "cancel") else "FAILED", "backend": backend}
    (folder(url) / "state.json").write_text(json.dumps(state))
    monkeypatch.setenv("LAUNCHER_HOME", str(tmp_path / "my-home"))
    monkeypatch.chdir(tmp_path)
    name, *options_ = command.split()
    try:
        code = main([name, url, *options_])
    except SystemExit as error:
        code = int(error.code or 0)
    assert code in (0, 1, 2, 3, 4, 5, 100, 101)
    assert not listener.was_asked


@pytest.mark.parametrize("field", ["run_id", "name"])
@pytest.mark.parametrize("value", ["../../etc", "/etc", "a/b", "", "a\nb", "..", "x" * 200])
def test_names_that_lead_elsewhere_are_refused(
    field: str, value: str, launcher_home: Path, tmp_path: Path
) -> None:
    sample = Sample(tmp_path)
    url = (tmp_path / "theirs").as_uri()
    shutil.copytree(sample.root, folder(url))
    change_plan(url, **{field: value})
    with pytest.raises(PlanError, match=field):
        Index().find(url)
