"""A program runs on the files as they were submitted, whatever happens to the folder afterwards."""

import contextlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from launcher.cli import main
from launcher.runfolder.states import State
from launcher.runs.drift import drift_of
from launcher.runs.explain import explain_run
from launcher.runs.onlyhere import only_here
from launcher.submission.resume import resume
from launcher.submission.retry import retry
from tests.waiting import wait_until

SCRIPT = """
import os, pathlib, sys, time
import helper
print("version", VERSION, helper.NAME, open("conf/words.txt").read(), flush=True)
VERSION_OF = f"ran-{os.environ['LAUNCHER_ATTEMPT']}.txt"
open(VERSION_OF, "w").write(f"{VERSION} {helper.NAME} {open('conf/words.txt').read()}")
release = pathlib.Path(sys.argv[1])
if os.environ["LAUNCHER_ATTEMPT"] == "1":
    while not release.exists():
        time.sleep(0.02)
    sys.exit(int(release.read_text()))
"""


def write(version: str) -> None:
    """The program in the current folder, in one version."""
    Path("conf").mkdir(exist_ok=True)
    Path("train.py").write_text(SCRIPT.replace("VERSION,", f"'{version}',").replace("{VERSION}", version))
    Path("helper.py").write_text(f"NAME = '{version}'\n")
    Path("conf/words.txt").write_text(version)
    Path("old.ckpt").write_text("from before")


@pytest.mark.parametrize("absolute", [False, True])
def test_an_edit_after_the_submission_changes_no_restart_no_resume_and_no_retry(
    jobs, absolute: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    write("one")
    release = jobs.folder / "release"
    script = str(Path("train.py").resolve()) if absolute else "train.py"
    entry = jobs.submit(program=["python", script, str(release)], retry={"max_restarts": 1, "backoff": "1s"})
    log = entry.run_dir.rank_log(1, 0, 0)
    wait_until(lambda: log.exists() and "version" in log.read_text(), "the program runs")
    assert drift_of(entry).words() == ""
    before = Path("train.py").stat()
    write("two")  # as an edit in the same second, of the same size
    os.utime("train.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    Path("conf/words.txt").unlink()
    Path("new.py").write_text("")
    drift = drift_of(entry)
    assert drift.changed == ("helper.py", "train.py")
    assert (drift.removed, drift.added) == (("conf/words.txt",), ("new.py",))
    release.write_text("1")
    view = jobs.end(entry)
    main(["status", entry.run_id])
    assert "changed helper.py, train.py, removed conf/words.txt, new new.py" in " ".join(
        capsys.readouterr().out.split()
    )
    assert explain_run(entry, view).drift == drift.words()
    assert view.state is State.SUCCEEDED, view.reason
    work = entry.run_dir.work / "rank-0"
    ran = {path.name: path.read_text() for path in work.glob("ran-*.txt")}
    assert ran == {"ran-1.txt": "one one one", "ran-2.txt": "one one one"}
    store = entry.store.open()
    keys = {info.key for info in store.list("work/")}
    assert keys == {"work/rank-0/ran-1.txt", "work/rank-0/ran-2.txt"}
    assert view.safe_file == ""
    assert only_here(entry) == []
    again = retry(jobs.index.find(entry.run_id), jobs.index)
    jobs.entries.append(again)
    release.write_text("0")
    assert jobs.end(again).state is State.SUCCEEDED
    assert (again.run_dir.work / "rank-0/ran-1.txt").read_text() == "one one one"


def test_another_machine_resumes_on_the_snapshot_of_the_runs_folder(
    jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("one")
    release = jobs.folder / "release"
    release.write_text("3")
    entry = jobs.submit(program=["python", "train.py", str(release)])
    assert jobs.end(entry).state is State.FAILED
    write("two")
    elsewhere = jobs.folder / "another-machine"
    (jobs.folder / "home/work").rename(elsewhere)
    resumed = resume(jobs.index.find(entry.run_id), jobs.index)
    assert jobs.end(resumed).state is State.SUCCEEDED
    assert (entry.run_dir.work / "rank-0/ran-2.txt").read_text() == "one one one"


def test_a_snapshot_that_somebody_changed_does_not_run(jobs) -> None:
    write("one")
    release = jobs.folder / "release"
    release.write_text("3")
    entry = jobs.submit(program=["python", "train.py", str(release)])
    jobs.end(entry)
    store = entry.store.open()
    store.put("snapshot.tar.gz", store.read("snapshot.tar.gz") + b"x")
    (jobs.folder / "home/work").rename(jobs.folder / "another-machine")
    assert main(["retry", entry.run_id]) == 4
    view = jobs.end(resume(jobs.index.find(entry.run_id), jobs.index))
    assert view.state is State.FAILED
    assert "snapshot.tar.gz" in view.reason


def test_a_script_elsewhere_is_kept_with_its_modules(jobs) -> None:
    far = jobs.folder / "far"
    far.mkdir()
    with contextlib.chdir(far):
        write("one")
    Path("conf").mkdir()
    Path("conf/words.txt").write_text("here")
    release = jobs.folder / "release"
    release.write_text("0")
    entry = jobs.submit(program=["python", str(far / "train.py"), str(release)])
    (far / "train.py").write_text("raise SystemExit('edited')")
    (far / "helper.py").write_text("NAME = 'edited'")
    view = jobs.end(entry)
    assert view.state is State.SUCCEEDED, view.reason
    assert (entry.run_dir.work / "rank-0/ran-1.txt").read_text() == "one one here"


def test_large_data_beside_the_script_are_linked_and_results_are_not_written_there(
    jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.snapshot.select.MOST_BYTES", 1000)
    Path("data").mkdir()
    Path("data/large.bin").write_bytes(bytes(5000))
    Path(".env").write_text("TOKEN=abc")
    Path("train.py").write_text(
        "open('data/size.txt', 'w').write(str(len(open('data/large.bin', 'rb').read())))\n"
        "assert open('.env').read()\n"
    )
    view = jobs.run(program=["python", "train.py"])
    assert view.state is State.SUCCEEDED, view.reason
    entry = jobs.index.find(view.run_id)
    assert entry.store.open().read("work/rank-0/data/size.txt") == b"5000"
    assert [path.name for path in Path("data").iterdir()] == ["large.bin"]
    assert only_here(entry) == []
    assert all(b"TOKEN" not in entry.store.open().read(info.key) for info in entry.store.open().list())
    assert drift_of(entry).words() == ""


def test_a_linked_file_that_the_program_changed_is_named(
    jobs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its original is what the program has written to, beside the script or where a link of the user's own leads."""
    monkeypatch.setattr("launcher.snapshot.select.MOST_BYTES", 1000)
    for folder in (Path("data"), tmp_path / "disk"):
        folder.mkdir()
        (folder / "large.bin").write_bytes(bytes(5000))
        (folder / "read.bin").write_bytes(bytes(5000))
    Path("disk").symlink_to(tmp_path / "disk")
    Path("train.py").write_text(
        "for folder in ('data', 'disk'):\n"
        "    open(f'{folder}/read.bin', 'rb').read()\n"
        "    open(f'{folder}/large.bin', 'ab').write(b'more')\n"
        "open('disk/index.bin', 'wb').write(b'new')\n"
    )
    view = jobs.run(program=["python", "train.py"])
    assert view.state is State.SUCCEEDED, view.reason
    entry = jobs.index.find(view.run_id)
    drift = drift_of(entry)
    assert drift.linked == ("data/large.bin", "disk/index.bin", "disk/large.bin")
    assert (drift.changed, drift.removed, drift.added) == ((), (), ())
    main(["status", entry.run_id])
    shown = " ".join(capsys.readouterr().out.split())
    assert (
        "by the run or by others: data/large.bin, disk/index.bin, disk/large.bin; linked, not copied" in shown
    )
    assert explain_run(entry, view).drift == drift.words()
    (unsafe,) = view.unsafe
    for name in (Path("data/large.bin").resolve(), tmp_path / "disk/index.bin", tmp_path / "disk/large.bin"):
        assert f"{name} (linked into the working folder and changed there" in unsafe.why
    assert "read.bin" not in unsafe.why
    assert "not every result is in the store" in shown


def test_the_record_has_commit_branch_and_difference(jobs) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        return subprocess.run(["git", *identity, *words], check=True, capture_output=True, text=True).stdout

    Path("train.py").write_text("print(1)\n")
    Path(".env").write_text("A=1\n")
    git("init", "-q", "-b", "topic")
    git("add", ".")
    git("commit", "-qm", "a")
    Path("train.py").write_text("print(2)\n")
    Path(".env").write_text("A=hidden\n")
    view = jobs.run(program=["python", "train.py"])
    entry = jobs.index.find(view.run_id)
    record = json.loads(entry.store.open().read("record.json"))
    assert (record["git"]["commit"], record["git"]["branch"]) == (git("rev-parse", "HEAD").strip(), "topic")
    assert "+print(2)" in record["git"]["diff"]
    assert "hidden" not in record["git"]["diff"]
    assert len(record["snapshot"]["digest"]) == 64


def test_a_resume_after_the_machine_lost_its_power(jobs) -> None:
    """Its disk has an older state and an empty script; the store has the state as it was."""
    write("one")
    release = jobs.folder / "release"
    entry = jobs.submit(program=["python", "train.py", str(release)])
    log = entry.run_dir.rank_log(1, 0, 0)
    wait_until(lambda: log.exists() and "version" in log.read_text(), "the program runs")
    older = entry.run_dir.state.read_bytes()
    release.write_text("2")
    reason = jobs.end(entry).reason
    assert "exit code 2" in reason
    entry.run_dir.state.write_bytes(older)
    script = entry.run_dir.work / "rank-0/train.py"
    times = script.stat()
    script.write_bytes(b"")
    os.utime(script, ns=(times.st_atime_ns, times.st_mtime_ns))
    view = jobs.end(resume(jobs.index.find(entry.run_id), jobs.index))
    assert view.state is State.SUCCEEDED, view.reason
    lost, done = (each.outcome for each in view.attempts)
    assert reason.startswith(lost)
    assert "exit code 2" in lost
    assert done == "done"
    assert (entry.run_dir.work / "rank-0/ran-2.txt").exists()
