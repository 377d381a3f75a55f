"""What a program of the user's own leaves is in the store, whoever wrote it, and nothing claims more than that."""

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from launcher.api import Run
from launcher.cli import main
from launcher.results.elsewhere import MOST
from launcher.results.ledger import Ledger
from launcher.runfolder.manifest import parse_manifest
from launcher.runfolder.snapshotindex import SnapshotIndex
from launcher.runfolder.states import State
from launcher.runs.explain import explain_run
from launcher.runs.index import RunEntry
from launcher.runs.prune import Kept, find_items
from launcher.submission.resume import resume
from tests.launcher.node.conftest import Clocks
from tests.launcher.node.machines import Machines

PROGRAMS = Path(__file__).parents[2] / "programs"
SAVER = [sys.executable, str(PROGRAMS / "saver.py")]
RESUME_ARGS = ["--resume", "{resume}"]


def written(entry: RunEntry) -> dict[str, bytes]:
    """What the program left below its working folders, by key."""
    came = SnapshotIndex.of_run(entry.run_dir.root)
    inside = {path: path.relative_to(entry.run_dir.work).parts[1:] for path in entry.run_dir.work.rglob("*")}
    files = sorted(
        path for path, parts in inside.items() if path.is_file() and "/".join(parts) not in came.files
    )
    files = [path for path in files if not path.is_symlink()]
    return {path.relative_to(entry.run_dir.root).as_posix(): path.read_bytes() for path in files}


def committed(entry: RunEntry) -> dict[str, bytes]:
    """The files below `work/` that the manifest names, as they are in the store."""
    store = entry.store.open()
    manifest = parse_manifest(store.read("MANIFEST.json"), "")
    return {each.key: store.read(each.key) for each in manifest.files if each.key.startswith("work/")}


def kept(jobs) -> dict[str, tuple[str, ...]]:
    found: list[Kept] = []
    find_items(jobs.index, older_than_s=0, kinds=["work folder"], on_kept=found.append)
    return {each.run_id: each.names for each in found}


@pytest.mark.parametrize("devices", [1, 2])
def test_all_files_are_in_the_store_fetched_bit_for_bit_and_pruned_only_then(
    jobs, devices: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = {"SHARDED": "1" if devices > 1 else ""}
    view = jobs.run(program=SAVER, devices=devices, env=env, requires=["json"])
    assert view.state is State.SUCCEEDED, view.reason
    entry = jobs.index.find(view.run_id)
    files = written(entry)
    assert len(files) == 4 * devices
    assert committed(entry) == files
    uploaded = Ledger(entry.run_dir.root / "upload.json", entry.store.url).objects
    assert [key for key in uploaded if not key.startswith(("work/", "logs/", "progress/"))] == []
    folder = "ckpt/rank_0" if devices > 1 else "ckpt"
    assert view.safe == f"checkpoint work/rank-0/{folder}/net-4_1.ckpt"
    Run(entry, jobs.index).fetch(tmp_path / "got", only="checkpoints")
    got = {
        path.relative_to(tmp_path / "got").as_posix(): path.read_bytes()
        for path in (tmp_path / "got").rglob("*.ckpt")
    }
    assert got == files
    assert kept(jobs) == {}
    gone = next(iter(files))
    entry.store.open().delete(gone)
    assert main(["prune", "--older-than", "0s", "--yes"]) == 0
    assert f"{gone} was removed from the store" in capsys.readouterr().err
    assert written(entry) == files


def test_a_file_above_the_limit_is_said_aloud_and_keeps_the_folder(
    jobs, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "open('big.bin', 'wb').write(bytes(9000)); open('small.txt', 'w').write('x')"
    view = jobs.run(program=[sys.executable, "-c", code], outputs={"max_file": "4KB"})
    assert view.state is State.SUCCEEDED
    assert view.unsafe
    assert "work/rank-0/big.bin (9.0 kB, more than outputs.max_file)" in view.unsafe[0].why
    entry = jobs.index.find(view.run_id)
    assert set(committed(entry)) == {"work/rank-0/small.txt"}
    explanation = explain_run(entry, view)
    assert "every result" in explanation.summary
    assert "not every result is in the store" in explanation.summary
    assert explanation.safe == "not all results are in the store"
    main(["status", view.run_id])
    assert "not every result is in the store" in capsys.readouterr().out
    assert set(kept(jobs)) == {view.run_id}


@pytest.mark.parametrize("named", ["script", "word", "env"])
def test_a_checkpoint_outside_of_the_working_folder_is_told(jobs, tmp_path: Path, named: str) -> None:
    """Nothing says that every result is in the store while weights lie elsewhere. What was there before is no result."""
    outside = tmp_path / "weights" / "deep"
    outside.mkdir(parents=True)
    (outside / "old.ckpt").write_bytes(b"old")
    os.utime(outside / "old.ckpt", (1.0, 1.0))
    word, variable = "sys.argv[1].partition('=')[2]", "os.environ['PLACE']"
    folder = {"script": repr(str(outside)), "word": word, "env": variable}[named]
    script = jobs.folder / "saves.py"
    script.write_text(
        f"import os, pathlib, sys\nplace = pathlib.Path({folder})\n(place / 'new.ckpt').write_bytes(b'new')\n"
        "(place / 'notes.txt').write_text('no weights')\n"
    )
    view = jobs.run(
        program=[sys.executable, str(script), f"--out={outside}"]
        if named == "word"
        else [sys.executable, str(script)],
        env={"PLACE": str(outside)} if named == "env" else {},
    )
    assert view.state is State.SUCCEEDED, view.reason
    (unsafe,) = view.unsafe
    assert f"{outside / 'new.ckpt'} (written outside of the working folder)" in unsafe.why
    assert "old.ckpt" not in unsafe.why
    assert "notes.txt" not in unsafe.why


def test_what_the_program_removed_to_save_room_goes_from_the_store(jobs, clocks: Clocks) -> None:
    """keep_checkpoint_max: the newest stay, in the store as on the disk. Other files that were removed stay in the store."""
    code = (
        "import os, pathlib, time\n"
        "store = pathlib.Path(os.environ['STORE']) / os.environ['LAUNCHER_RUN_ID'] / 'work/rank-0'\n"
        "def save(name):\n"
        "    pathlib.Path(name).write_text(name)\n"
        "    while not (store / name).exists(): time.sleep(0.05)\n"
        "save('net-1.ckpt'); save('notes.txt'); time.sleep(0.01); save('net-2.ckpt')\n"
        "os.remove('net-1.ckpt'); os.remove('notes.txt')\n"
    )
    entry = jobs.submit(program=[sys.executable, "-c", code], env={"STORE": str(jobs.folder / "runs")})
    clocks.pass_until(jobs, lambda view: view.state.terminal)  # a file goes up once it has rested
    view = jobs.end(entry)
    assert view.state is State.SUCCEEDED, view.reason
    assert set(committed(entry)) == {"work/rank-0/net-2.ckpt", "work/rank-0/notes.txt"}
    assert view.safe_file == "work/rank-0/net-2.ckpt"


def test_a_killed_node_program_loses_nothing(jobs, rng: random.Random) -> None:
    """The node program is killed at random moments and resumed."""
    entry = jobs.submit(
        program=[*SAVER, "--epochs", "12"], resume_args=RESUME_ARGS, env={"PACE": "0.1", "HOLD": "12"}
    )
    for attempt in (1, 2):
        log = entry.run_dir.rank_log(attempt, 0, 0)
        jobs.until(entry, lambda view, log=log: log.exists() and "starts after" in log.read_text())
        time.sleep(rng.uniform(0.0, 1.0))
        os.kill(jobs.index.find(entry.run_id).handle.data["pid"], signal.SIGKILL)
        jobs.until(entry, lambda view: view.state.terminal)
        entry = resume(jobs.index.find(entry.run_id), jobs.index)
    view = jobs.end(entry)
    assert view.state is State.SUCCEEDED, view.reason
    files = written(entry)
    names = {f"work/rank-0/ckpt/net-{epoch}_1.ckpt" for epoch in range(1, 13)}
    assert {key for key in files if key.endswith(".ckpt")} == names
    assert committed(entry) == files
    assert kept(jobs) == {}


def test_another_machine_goes_on_and_the_store_has_the_files_of_both(jobs) -> None:
    first = jobs.run(program=SAVER, resume_args=RESUME_ARGS, env={"FAIL_AT": "2"})
    assert first.state is State.FAILED
    assert first.safe_file == "work/rank-0/ckpt/net-2_1.ckpt"
    entry = jobs.index.find(first.run_id)
    shutil.rmtree(entry.run_dir.root)
    view = jobs.end(resume(entry, jobs.index))
    assert view.state is State.SUCCEEDED, view.reason
    assert set(committed(entry)) == {f"work/rank-0/ckpt/net-{epoch}_1.ckpt" for epoch in (1, 2, 3, 4)}
    assert kept(jobs) == {}


@pytest.mark.system
def test_the_files_of_each_machine_are_in_the_store(machines: Machines) -> None:
    """Two node programs with disks of their own: what each rank leaves in its working folder is committed with the run."""
    code = [
        "import os, sys",
        "if os.environ.get('MS_ROLE') == 'MS_SCHED': sys.exit()",
        "rank = os.environ['RANK_ID']",
        "os.mkdir('ckpt')",
        "open(f'ckpt/net-{rank}.ckpt', 'w').write(rank)",
        "open('same-name.txt', 'w').write('of rank ' + rank)",
    ]
    machines.plan(program=[sys.executable, "-c", "\n".join(code)])
    machines.start(0, 1)
    assert machines.codes() == [0, 0], machines.log(0) + machines.log(1)
    assert machines.state.state == "SUCCEEDED"
    committed = {each["name"] for each in json.loads(machines.store.read("MANIFEST.json"))["files"]}
    for rank in ("0", "1"):
        expected = {f"ckpt/net-{rank}.ckpt": rank, "same-name.txt": f"of rank {rank}"}
        for name, text in expected.items():
            key = f"work/rank-{rank}/{name}"
            assert key in committed
            assert machines.store.read(key) == text.encode()


def test_a_place_with_too_many_files_to_search_is_told(
    jobs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Images that a program reads are such a place, so it makes no result unsafe."""
    images = tmp_path / "images"
    images.mkdir()
    for number in range(MOST + 1):
        os.close(os.open(images / str(number), os.O_CREAT))
    view = jobs.run(program=[sys.executable, "-c", "pass"], env={"IMAGES": str(images)})
    assert (view.state, view.unsafe, view.partly_searched) == (State.SUCCEEDED, (), (str(images),))
    main(["status", view.run_id])
    assert f"searched  {images} in part" in " ".join(capsys.readouterr().out.split(" "))
