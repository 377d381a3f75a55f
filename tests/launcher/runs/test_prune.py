import json
from pathlib import Path

import pytest

from launcher.cli import main
from launcher.disk import locked
from launcher.runfolder.states import State
from launcher.runs.index import Index
from launcher.runs.prune import Item, find_items, remove
from tests.launcher.samples import Sample

ALL = ("work folder", "index entry", "data set", "rehearsal")


@pytest.fixture
def done(launcher_home: Path, tmp_path: Path) -> Sample:
    sample = Sample(tmp_path)
    sample.write("checkpoints/step-1/weights", "x" * 100_000)
    return sample


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
    done.entry.store.open().put("MANIFEST.json", b"{}")
    assert ("work folder", done.entry.run_id) in found(done.index)


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
