"""Snapshots for plans that a test hands to a node program itself, past a submission."""

import os
from pathlib import Path

from launcher.jobfile.spec import JobSpec
from launcher.plan.model import Plan
from launcher.runfolder.paths import SNAPSHOT
from launcher.snapshot.archive import Snapshot, pack
from launcher.submission.prepare import selection_for


def snapshot_of(spec: JobSpec, cwd: Path) -> Snapshot:
    """What a submission from `cwd` packs for a program of one's own."""
    selection = selection_for(spec, spec.resources.backend, os.environ, cwd)
    assert selection is not None
    return pack(selection)


def with_snapshot(plan: Plan, snapshot: Snapshot) -> Plan:
    """The plan with its snapshot, which lies in the run's folder on this disk."""
    assert plan.snapshot is not None
    plan.run_dir.root.mkdir(parents=True, exist_ok=True)
    (plan.run_dir.root / SNAPSHOT).write_bytes(snapshot.data)
    return plan.model_copy(update={"snapshot": plan.snapshot.model_copy(update={"digest": snapshot.digest})})
