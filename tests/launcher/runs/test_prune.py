import json
import os
from pathlib import Path

import pytest

from launcher.backends.base import Handle
from launcher.backends.slurm.query import Job
from launcher.cli import main
from launcher.disk import locked
from launcher.results.collector import Collector
from launcher.results.programfiles import ProgramFiles
from launcher.runfolder.states import EndedBy, State, UnsafeResults
from launcher.runs.index import Index, RunEntry
from launcher.runs.prune import Item, Kept, find_items, remove
from launcher.runs.view import view_of
from launcher.storage.address import StoreAddress
from tests.launcher.samples import Sample
from tests.servers.rundir import RunDir

ALL = ("work folder", "index entry", "data set", "rehearsal")


@pytest.fixture
def done(launcher_home: Path, tmp_path: Path) -> Sample:
    sample = Sample(tmp_path)
    RunDir(sample.root).checkpoint(1, size=50_000)
    commit(sample)
    return sample


def commit(sample: Sample) -> None:
    """Upload everything, as the node program does at the end."""
    store, plan = sample.entry.store.open(), sample.plan
    program = ProgramFiles(sample.root, plan.outputs, [0], 0) if plan.own_program else None
    collector = Collector(sample.root, store, attempt=1, program=program)
    collector.sync(final=True)
    collector.commit({})


def found(index: Index, older_than_s: float = 0, **options: object) -> list[tuple[str, str]]:
    items = find_items(index, older_than_s=older_than_s, kinds=ALL, **options)  # type: ignore[arg-type]
    return [(item.kind, item.name) for item in items]


def test_a_run_that_is_in_the_store_may_go_and_is_gone(done: Sample) -> None:
    items = find_items(done.index, older_than_s=0, kinds=ALL)
    assert [item.kind for item in items] == ["work folder", "index entry"]
    assert items[0].bytes >= 100_000
    assert all(remove(item) for item in items)
    assert not done.root.exists()
    assert done.index.ids() == []


def test_what_is_young_stays(done: Sample) -> None:
    assert found(done.index, older_than_s=1e9) == []


def test_a_run_that_lives_stays(done: Sample) -> None:
    done.state(State.RUNNING)
    assert found(done.index) == []


def test_a_failed_run_goes_only_when_the_store_has_it(done: Sample) -> None:
    done.state(State.FAILED, "rank 0 crashed")
    assert found(done.index) == [("index entry", done.entry.run_id)]
    assert ("work folder", done.entry.run_id) in found(done.index, unsafe=True)
    assert found(done.index) == [("index entry", done.entry.run_id)]  # it is not known what else there is
    done.state(State.FAILED, "rank 0 crashed", unsafe=())
    assert ("work folder", done.entry.run_id) in found(done.index)
    done.entry.store.open().delete("MANIFEST.json")
    assert found(done.index) == [("index entry", done.entry.run_id)]


ONLY_HERE = UnsafeResults(host="node1", folder="/work/run", why="no answer from http://127.0.0.1:9")


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.CANCELLED])
def test_a_run_that_says_what_the_store_lacks_stays(done: Sample, state: State) -> None:
    done.state(state, "over", unsafe=(ONLY_HERE,))
    assert found(done.index) == [("index entry", done.entry.run_id)]
    assert ("work folder", done.entry.run_id) in found(done.index, unsafe=True)


def kept(index: Index) -> dict[str, tuple[str, ...]]:
    """Names of what only this disk has, by run."""
    found: list[Kept] = []
    find_items(index, older_than_s=0, kinds=ALL, on_kept=found.append)
    return {each.run_id: each.names for each in found}


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("checkpoints/step-1/part-0.bin", ("checkpoints/step-1/part-0.bin", "checkpoints/step-1")),
        ("logs/attempt-1/node-0/rank-0.log", ("logs/attempt-1/node-0/rank-0.log",)),
        ("MANIFEST.json", ("MANIFEST.json",)),
    ],
)
def test_an_object_that_somebody_removed_keeps_the_folder(
    done: Sample, key: str, names: tuple[str, ...]
) -> None:
    done.log("rank-0", "loss 0.1\n")
    commit(done)
    assert ("work folder", done.entry.run_id) in found(done.index)
    done.entry.store.open().delete(key)
    assert ("work folder", done.entry.run_id) not in found(done.index)
    assert set(kept(done.index)[done.entry.run_id]) <= set(names)
    assert kept(done.index)[done.entry.run_id]


def test_an_object_that_somebody_replaced_keeps_the_folder(done: Sample) -> None:
    store = done.entry.store.open()
    size = len(store.read("checkpoints/step-1/part-1.bin"))
    store.put("checkpoints/step-1/part-1.bin", b"x" * (size - 1))
    assert kept(done.index)[done.entry.run_id] == ("checkpoints/step-1/part-1.bin",)


def test_a_file_that_is_on_the_disk_only_keeps_the_folder(done: Sample) -> None:
    done.write("eval/late.json", '{"top1": 0.5}')
    assert kept(done.index) == {done.entry.run_id: ("eval/late.json",)}
    assert ("work folder", done.entry.run_id) in found(done.index, unsafe=True)


def test_verify_looks_at_the_disk_of_an_ended_run_too(
    done: Sample, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", done.entry.run_id]) == 0
    done.write("eval/late.json", '{"top1": 0.5}')
    assert main(["verify", done.entry.run_id, "--json"]) == 4
    flaws = json.loads(capsys.readouterr().out)["flaws"]
    assert [(each["rule"], each["key"]) for each in flaws] == [("VF004", "eval/late.json")]
    done.state(State.RUNNING)
    assert main(["verify", done.entry.run_id]) == 0


def test_lines_that_were_logged_after_the_commit_are_no_loss(done: Sample) -> None:
    log = done.log("node", "begun\n")
    commit(done)
    log.write_text("begun\nended\n")
    assert kept(done.index) == {}
    log.write_text("other\nended\n")
    assert kept(done.index) == {done.entry.run_id: ("logs/attempt-1/node-0/node.log",)}


def test_files_of_a_program_are_compared_too(launcher_home: Path, tmp_path: Path) -> None:
    sample = Sample(tmp_path, program=["python", "-c", "pass"], model=None, data=None)
    ours = sample.write("work/rank-0/ckpt/net-1_20.ckpt", "weights")
    commit(sample)
    assert kept(sample.index) == {}
    os.utime(ours, (1, 1))  # its content is read then
    assert kept(sample.index) == {}
    ours.write_text("another")
    sample.write("work/rank-0/more.csv", "1,2")
    names = ("work/rank-0/ckpt/net-1_20.ckpt", "work/rank-0/more.csv")
    assert kept(sample.index) == {sample.entry.run_id: names}


def test_a_store_that_does_not_answer_keeps_the_folder_of_its_run_only(
    done: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "two").mkdir()
    other = Sample(tmp_path / "two")
    other.index.put(
        other.entry.model_copy(update={"store": StoreAddress(url="s3://b/r", endpoint="http://127.0.0.1:9")})
    )
    commit(done)
    assert main(["prune", "--older-than", "0s", "--yes"]) == 0
    assert f"kept {other.entry.run_id}: " in capsys.readouterr().err
    assert (done.root.exists(), other.root.exists()) == (False, True)


def on_slurm(done: Sample, monkeypatch: pytest.MonkeyPatch, job: Job) -> RunEntry:
    """The run as one of the back end `slurm`, whose job is `job`."""
    data = {"job": job.id, "comment": job.comment, "cluster": "", "log": ""}
    entry = done.entry.model_copy(update={"backend": "slurm", "handle": Handle(backend="slurm", data=data)})
    monkeypatch.setattr("launcher.backends.slurm.backend.look_up", lambda ids: {job.id: job})
    monkeypatch.setattr("launcher.backends.slurm.backend.cluster_name", lambda: "")
    monkeypatch.setattr("launcher.runs.index.socket.gethostname", lambda: "")
    done.index.put(entry)
    return entry


def test_the_only_copy_stays_when_the_platform_replaces_the_reason(
    done: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job is cancelled in Slurm while the store is down. An attempt before left its manifest in the store."""
    done.state(State.FAILED, "stopped by SIGTERM", ended_by=EndedBy.SIGNAL, unsafe=(ONLY_HERE,))
    job = Job("17", "CANCELLED", "None", "node1", 1, "main", f"launcher:{done.entry.run_id}")
    entry = on_slurm(done, monkeypatch, job)
    view = view_of(entry, done.index)
    assert view.state is State.CANCELLED
    assert view.reason.startswith("cancelled; Slurm job 17 has ended CANCELLED")
    assert "results are on node1 in /work/run, but not all in the store" in view.reason
    assert found(done.index) == [("index entry", entry.run_id)]
    assert found(done.index) == [("index entry", entry.run_id)]  # known from the index now


def test_a_run_that_was_killed_before_it_could_say_what_the_store_lacks_stays(
    done: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    done.state(State.RUNNING, unsafe=())
    job = Job("17", "CANCELLED", "None", "node1", 1, "main", f"launcher:{done.entry.run_id}")
    entry = on_slurm(done, monkeypatch, job)
    assert view_of(entry, done.index).state is State.CANCELLED
    assert found(done.index) == [("index entry", entry.run_id)]


def test_data_sets_stay_while_a_run_lives_and_while_one_is_staged(done: Sample, launcher_home: Path) -> None:
    folder = launcher_home / "cache" / "datasets" / "0123456789abcdef"
    (folder / "files").mkdir(parents=True)
    (folder / "COMPLETE.json").write_text("{}")
    assert ("data set", "0123456789ab") in found(done.index)
    done.state(State.RUNNING)
    assert found(done.index) == []
    item = Item("data set", "x", folder, 0, "")
    with locked(folder.with_name(folder.name + ".lock")):
        assert not remove(item)
    assert (folder / "COMPLETE.json").exists()
    assert remove(item)
    assert not folder.exists()


def test_the_command_asks_and_without_a_terminal_does_nothing(
    done: Sample, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prune", "--older-than", "0s", "--dry-run"]) == 0
    assert "work folder" in capsys.readouterr().out
    assert main(["prune", "--older-than", "0s"]) == 0
    assert "--yes removes without asking" in capsys.readouterr().err
    assert done.root.exists()
    assert main(["prune", "--older-than", "0s", "--yes", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [item["removed"] for item in report["items"]] == [True]
    assert report["freed_bytes"] > 0
    assert not done.root.exists()


def test_bad_usage(launcher_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", "--older-than", "long"]) == 2
    assert main(["prune", "--json"]) == 2
