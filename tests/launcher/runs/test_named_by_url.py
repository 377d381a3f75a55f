"""A URL means the folder behind it, also when this machine knows the run: a copy is not mistaken for the original."""

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.api import Run, find
from launcher.backends.base import Handle
from launcher.cli import main
from launcher.errors import PlanError
from launcher.runfolder.states import State
from launcher.runs.index import Index
from launcher.runs.view import view_of
from launcher.submission.cancel import cancel
from launcher.submission.resume import resume
from tests.launcher.samples import Sample


@pytest.fixture
def sample(launcher_home: Path, tmp_path: Path) -> Sample:
    """A run that has FAILED here."""
    sample = Sample(tmp_path)
    sample.state(State.FAILED, "the original")
    sample.log("rank-0", "the original\n")
    sample.entry = sample.entry.model_copy(
        update={"handle": Handle(backend="local", host=socket.gethostname(), data={"pid": 1, "started": ""})}
    )
    sample.index.put(sample.entry)
    return sample


@pytest.fixture
def copy(sample: Sample, tmp_path: Path) -> str:
    """Its folder in another store, where it has SUCCEEDED."""
    folder = tmp_path / "copies" / sample.entry.run_id
    shutil.copytree(sample.root, folder)
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, "state": "SUCCEEDED", "reason": "the copy"}))
    (folder / "logs/attempt-1/node-0/rank-0.log").write_text("the copy\n")
    return folder.as_uri()


LOOKS: dict[str, Callable[[Run], object]] = {
    "state": lambda run: run.view().reason,
    "logs": lambda run: [line.text for line in run.logs()],
    "url": lambda run: run.url,
}


@pytest.mark.parametrize("look", LOOKS)
def test_each_look_at_a_copy_differs_from_the_one_at_the_original(
    sample: Sample, copy: str, look: str
) -> None:
    assert LOOKS[look](find(copy)) != LOOKS[look](find(sample.entry.run_id))


def test_status_of_a_copy(sample: Sample, copy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", copy, "--json"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert (seen["state"], seen["url"]) == ("SUCCEEDED", copy)
    assert view_of(sample.entry, sample.index).state is State.FAILED
    assert sample.index.find(sample.entry.run_id).store.url == sample.plan.store.url


def test_the_url_of_the_original_is_the_run_that_the_index_knows(sample: Sample) -> None:
    assert sample.index.find(sample.plan.store.url) == sample.index.find(sample.entry.run_id)


def test_a_copy_under_another_name(sample: Sample, copy: str, tmp_path: Path) -> None:
    (tmp_path / "copies" / sample.entry.run_id).rename(tmp_path / "copies" / "kept")
    assert find((tmp_path / "copies" / "kept").as_uri()).state is State.SUCCEEDED


def test_cancelling_a_copy_leaves_the_original_alone(sample: Sample, copy: str, tmp_path: Path) -> None:
    cancel(Index().find(copy))
    assert (tmp_path / "copies" / sample.entry.run_id / "cancel.json").exists()
    assert not sample.entry.run_dir.cancel.exists()


def test_a_copy_is_not_resumed(sample: Sample, copy: str, tmp_path: Path) -> None:
    state = tmp_path / "copies" / sample.entry.run_id / "state.json"
    state.write_text(state.read_text().replace("SUCCEEDED", "FAILED"))
    before = sample.index.find(sample.entry.run_id)
    with pytest.raises(PlanError, match="copy"):
        resume(find(copy).entry, sample.index)
    assert sample.index.find(sample.entry.run_id) == before


def test_a_report_compares_a_run_with_its_copy(sample: Sample, copy: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert main(["report", sample.entry.run_id, copy, "--out", str(page)]) == 0
    assert "the original" in page.read_text()
    assert "SUCCEEDED" in page.read_text()


def test_the_options_of_a_store_are_for_urls(sample: Sample, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", sample.entry.run_id, "--endpoint", "http://127.0.0.1:1"]) == 2
    assert "named by its URL" in " ".join(capsys.readouterr().err.split())
