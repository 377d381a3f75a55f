"""A damaged file of this machine: the store has a copy, which is shown and put back by a resume."""

import json
import socket
from pathlib import Path

import pytest

from launcher.api import find
from launcher.backends.base import Handle
from launcher.runfolder.signature import sign
from launcher.runfolder.states import State
from launcher.runs.trust import Untrusted, find_plan
from launcher.submission.resume import resume
from tests.launcher.damages import DAMAGES
from tests.launcher.samples import Sample


@pytest.fixture
def sample(launcher_home: Path, tmp_path: Path) -> Sample:
    sample = Sample(tmp_path)
    sample.state(State.FAILED, "rank 0 failed")
    store = sample.plan.store.open()
    for name in ("plan.json", "state.json", "record.json", "job.yaml"):
        store.put(name, (sample.root / name).read_bytes())
    store.put("plan.sig", sign((sample.root / "plan.json").read_bytes()))
    return sample


@pytest.mark.parametrize(
    "how", [how for how in DAMAGES if how not in ("NaN", "infinite", "400 digits", "negative")]
)
def test_the_store_is_asked_when_a_file_here_is_damaged(how: str, sample: Sample) -> None:
    whole = {name: (sample.root / name).read_bytes() for name in ("plan.json", "state.json", "record.json")}
    for name, text in whole.items():
        (sample.root / name).write_bytes(DAMAGES[how](text))
    run = find(sample.entry.run_id)
    assert (run.view().state, run.view().headline) == (State.FAILED, "rank 0 failed")
    assert run.plan() == sample.plan
    assert find_plan(run.entry).ours
    if how not in ("null", "a list", "a text", "wrong types", "5,000 digits"):  # damaged, but still JSON
        assert run.record() == json.loads(whole["record.json"])


def test_a_resume_repairs_the_files_here(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    started = Handle(backend="local", host=socket.gethostname(), data={"pid": 1, "started": "never"})
    monkeypatch.setattr("launcher.backends.local.LocalBackend.submit", lambda *_: started)
    for name in ("plan.json", "state.json"):
        (sample.root / name).write_bytes(b"{")
    resume(sample.entry, sample.index)
    assert (sample.root / "plan.json").read_text() == sample.plan.text()
    assert json.loads((sample.root / "state.json").read_text())["attempt"] == 2


def test_the_copy_must_be_ours_to_run(sample: Sample) -> None:
    (sample.root / "plan.json").write_bytes(b"{")
    store = sample.plan.store.open()
    store.put("plan.json", store.read("plan.json").replace(b"train.py", b"evil.py"))
    with pytest.raises(Untrusted, match=r"evil\.py"):
        resume(sample.entry, sample.index)
