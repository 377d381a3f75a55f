"""Limits of an ordinary machine: each ends with the right words, and never as a defect."""

import contextlib
import errno
import fcntl
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.backends.base import Handle
from launcher.cli import guarded, main
from launcher.devices.locks import DeviceLocks
from launcher.doctor.machine import machine_checks
from launcher.errors import UsageError
from launcher.runfolder.states import State
from tests.launcher.samples import Sample, write_job


def typed(*words: str, env: dict[str, str] | None = None, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "launcher", *words],
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
        check=False,
        **more,  # type: ignore[call-overload]
    )


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EMFILE, "ulimit -n"),
        (errno.EAGAIN, "ulimit -u"),
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "mount it writable or name another folder"),
        (errno.EACCES, "check owner and permissions"),
        (errno.ENOMEM, "free some memory"),
        (errno.ENOLCK, "local disk"),
        (errno.EIO, "the file system failed"),
    ],
)
def test_an_error_of_the_machine_is_no_defect(
    number: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> int:
        raise OSError(number, os.strerror(number), "/some/file")

    assert guarded(command) == 4
    shown = capsys.readouterr().err
    assert "defect" not in shown
    assert "/some/file" in shown
    assert words in shown


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_network_file_system_without_locks(
    number: int,
    launcher_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As NFS mounted with nolock: what needs a lock says so, and what is there stays as it was."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    sample = Sample(tmp_path)
    sample.state(State.FAILED, "it failed")
    before = (sample.root / "state.json").read_bytes()
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert sample.run.view().state is State.FAILED
    assert main(["resume", sample.entry.run_id]) == 4
    shown = capsys.readouterr().err
    assert ("has no locks" in shown, "LAUNCHER_HOME" in shown, sample.entry.run_id in shown) == (
        True,
        True,
        True,
    )
    with pytest.raises(UsageError, match="device locks don't work here") as caught:
        DeviceLocks(tmp_path / "locks").acquire([0])
    assert "LAUNCHER_LOCK_DIR" in caught.value.hint
    assert (sample.root / "state.json").read_bytes() == before


@pytest.fixture
def failed_on_a_small_disk(small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sample:
    """A run that has FAILED, with all of home on the small disk."""
    monkeypatch.setenv("LAUNCHER_HOME", str(small_disk / "home"))
    sample = Sample(tmp_path)
    sample.state(State.FAILED, "it failed")
    return sample


def check_refused(sample: Sample, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What reads goes on; a resume says what is wrong, and changes nothing."""
    before = (sample.root / "state.json").read_bytes()
    assert main(["status", sample.entry.run_id]) == 0
    assert "it failed" in capsys.readouterr().out
    assert main(["resume", sample.entry.run_id]) == 4
    shown = capsys.readouterr().err
    assert (words in shown, "hint" in shown, "defect" in shown) == (True, True, False), shown
    assert (sample.root / "state.json").read_bytes() == before


def test_a_home_that_became_read_only(
    failed_on_a_small_disk: Sample, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    check_refused(failed_on_a_small_disk, "read-only file system", capsys)


def test_a_home_that_is_full(
    failed_on_a_small_disk: Sample, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.suppress(OSError), (small_disk / "full").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    check_refused(failed_on_a_small_disk, "no space left", capsys)


def test_a_number_of_a_process_that_is_now_another_one(
    launcher_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is gone, and a cancel does not signal whoever has its number now."""
    other = subprocess.Popen(["sleep", "600"])
    try:
        sample = Sample(tmp_path)
        sample.state(State.RUNNING)
        handle = Handle(
            backend="local", host=socket.gethostname(), data={"pid": other.pid, "started": "long ago"}
        )
        sample.entry = sample.entry.model_copy(update={"handle": handle})
        sample.index.put(sample.entry)
        assert sample.run.view().state is State.FAILED
        signals: list[tuple[int, int]] = []
        with monkeypatch.context() as patch:
            patch.setattr(os, "kill", lambda *signal: signals.append(signal))
            sample.run.cancel()
        assert signals == []
    finally:
        other.kill()
        other.wait()


@pytest.mark.system
def test_a_high_descriptor_under_a_low_limit(launcher_home: Path, tmp_path: Path) -> None:
    """A shell opened descriptor 200, then `ulimit -n` was lowered below it: the run starts, and does not keep it open."""
    read, write = os.pipe()
    high = os.dup2(write, 200, inheritable=True)
    os.close(write)
    (tmp_path / "train.py").write_text("")
    job = write_job(tmp_path, requires=[])
    try:
        done = typed(
            "submit",
            str(job),
            "--follow",
            cwd=tmp_path,
            pass_fds=(high,),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)),
        )
    finally:
        os.close(high)
    assert done.returncode == 0, done.stderr
    assert os.read(read, 1) == b""  # no process holds the other end
    os.close(read)


@pytest.mark.system
@pytest.mark.parametrize(("home", "code"), [("/proc/nowhere", 4), ("/etc/hostname", 2)])
def test_a_home_that_can_t_be_written_to(home: str, code: int, tmp_path: Path) -> None:
    job = write_job(tmp_path, requires=[])
    (tmp_path / "train.py").write_text("")
    env = {"LAUNCHER_HOME": home}
    listed = typed("status", env=env, cwd=tmp_path)
    assert (listed.returncode, "no runs yet" in listed.stderr) == (0, True)
    refused = typed("submit", str(job), env=env, cwd=tmp_path)
    assert refused.returncode == code, refused.stderr
    assert home in refused.stderr
    assert "defect" not in refused.stderr
    (disk,) = [each for each in machine_checks(home=Path(home)) if each.rule == "disk"]
    assert (disk.severity, "LAUNCHER_HOME" in disk.fix) == ("error", True)
