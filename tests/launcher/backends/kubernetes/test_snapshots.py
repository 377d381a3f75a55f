"""A script that is edited after the submission: pods run what was submitted, however often they are started."""

from pathlib import Path
from typing import Any

import pytest

from launcher.runfolder.states import State
from launcher.runs.index import Index, RunEntry
from launcher.submission.launch import submit
from launcher.submission.prepare import prepare
from launcher.submission.resume import resume
from launcher.submission.retry import retry
from tests.fakes.kubernetes_cluster import FakeCluster
from tests.launcher.backends.kubernetes.flows import ended, job, until

SCRIPT = """
import os, pathlib, sys
import helper
words = pathlib.Path("conf/words.txt").read_text()
pathlib.Path(f"ran-{os.environ['LAUNCHER_ATTEMPT']}.txt").write_text(f"VERSION {helper.NAME} {words}")
sys.exit(int(pathlib.Path(os.environ["END_WITH"]).read_text()))
"""


def write(version: str) -> None:
    """The program in the current folder, in one version."""
    Path("conf").mkdir(exist_ok=True)
    Path("train.py").write_text(SCRIPT.replace("VERSION", version))
    Path("helper.py").write_text(f"NAME = '{version}'")
    Path("conf/words.txt").write_text(version)


def ran(entry: RunEntry) -> dict[str, str]:
    """What each attempt wrote, from the run's folder in the store."""
    store = entry.store.open()
    keys = [info.key for info in store.list("work/") if "/ran-" in info.key]
    return {key.rpartition("/")[2]: store.read(key).decode() for key in keys}


@pytest.mark.slow
def test_an_edit_after_the_submission_changes_nothing_for_a_queued_restarted_resumed_or_retried_run(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    write("one")
    code = tmp_path / "code"
    code.write_text("3")
    sections: dict[str, Any] = {"program": ["python", "train.py"], "env": {"END_WITH": str(code)}}
    sections["retry"] = {"max_restarts": 1, "backoff": "0s"}
    cluster.hold = ("Unschedulable", "0/1 nodes are available: 1 Insufficient cpu.")
    entry = submit(prepare(job(tmp_path, cluster, 1, kind="job", **sections)), Index())
    until(entry, lambda seen: "no node has enough" in seen.detail)
    write("two")
    cluster.hold = None
    found = ended(entry)
    assert (found.state, found.attempt) == (State.FAILED, 2), found.reason
    code.write_text("0")
    resume(Index().find(entry.run_id), Index())
    found = ended(entry)
    assert (found.state, found.attempt) == (State.SUCCEEDED, 3), found.reason
    assert ran(entry) == {f"ran-{attempt}.txt": "one one one" for attempt in (1, 2, 3)}
    again = retry(Index().find(entry.run_id), Index())
    assert ended(again).state is State.SUCCEEDED
    assert ran(again) == {"ran-1.txt": "one one one"}
