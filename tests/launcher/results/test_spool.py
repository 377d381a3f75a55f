"""What a node program that was killed outright had not uploaded goes up with the next attempt on its machine."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from launcher.results.verify import verify_run
from launcher.storage import open_store
from launcher.submission.resume import resume
from tests.conftest import Jobs


def test_the_work_folder_is_the_spool(jobs: Jobs, tmp_path: Path) -> None:
    output = {"url": str(tmp_path / "runs"), "upload_every": "1h"}  # nothing goes up before the end
    entry = jobs.submit(env={"HOLD_AT": "4"}, output=output)
    jobs.until(entry, lambda view: any(entry.run_dir.checkpoints.glob("step-*/manifest.json")))
    (first, *_) = sorted(entry.run_dir.checkpoints.glob("step-*"))
    os.kill(entry.handle.data["pid"], signal.SIGKILL)  # type: ignore[union-attr]
    jobs.until(entry, lambda view: view.state.terminal)
    store = open_store(entry.store.url)
    assert not list(store.list("checkpoints/")), "nothing was safe"
    assert first.exists()
    again = resume(entry, jobs.index)
    jobs.entries.append(again)
    view = jobs.end(again)
    assert view.state.value == "SUCCEEDED"
    assert view.attempts[1].resumed_step is not None, (
        "it began where the first was, with what only this disk had"
    )
    report = verify_run(store)
    assert (report.good, report.committed) == (True, True)
    assert list(store.list("checkpoints/"))
