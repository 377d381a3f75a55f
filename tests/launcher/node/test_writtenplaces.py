"""What a run left outside of its run directory: by the times of its first attempt, and without other runs' files."""

import json
import os
from pathlib import Path

import pytest

from launcher.clock import Begin
from launcher.node.writtenplaces import WrittenPlaces
from launcher.runfolder.snapshotindex import LinkedFile, SnapshotIndex
from launcher.storage import open_store
from launcher.submission.prepare import prepare


def test_what_an_attempt_before_the_resume_wrote_is_found(
    tmp_path: Path, launcher_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text("")
    Path("large.bin").write_bytes(b"changed")
    disk = tmp_path / "disk"
    job = {
        "name": "a",
        "program": ["python", "train.py", "--out", str(disk)],
        "output": {"url": str(disk / "runs"), "work_dir": str(disk / "work")},
    }
    Path("job.yaml").write_text(json.dumps(job))
    plan = prepare("job.yaml").plan
    mine, earlier = disk / "ckpt/net.ckpt", disk / "ckpt/from-before.ckpt"
    others = [disk / "work/b", plan.run_dir.root, disk / "runs/b", disk / "runs" / plan.run_id]
    for folder in others:
        folder.mkdir(parents=True)
        (folder / "plan.json").touch()
    for path in (mine, earlier, *(folder / "net.ckpt" for folder in others)):
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (150.0, 150.0))
    os.utime(earlier, (50.0, 50.0))
    index = SnapshotIndex(
        "", "", {}, {"large.bin": str(tmp_path / "large.bin")}, {"large.bin": LinkedFile(1, 1)}
    )
    (plan.run_dir.root / "snapshot.json").write_text(index.text())
    attempts = [{"attempt": 1, "started_at": 100.0}, {"attempt": 2, "started_at": 1000.0}]
    state = {"run_id": "a", "name": "a", "backend": "local", "state": "RUNNING", "attempts": attempts}
    store = open_store(f"memory://{tmp_path.name}")
    places = WrittenPlaces(plan, [0], store, Begin())
    assert [each.name for each in places.elsewhere().search().left_out] == [str(tmp_path / "large.bin")]
    store.put(
        "state.json", json.dumps({**state, "submitted_at": 90.0, "updated_at": 90.0, "url": ""}).encode()
    )
    assert [each.name for each in places.elsewhere().search().left_out] == [
        str(mine),
        str(tmp_path / "large.bin"),
    ]
