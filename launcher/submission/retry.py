"""`launcher retry`: a run once more, from the beginning, as a new run of the very same plan."""

from __future__ import annotations

from pathlib import Path

from launcher.backends import get_backend
from launcher.plan.rewrite import as_run
from launcher.runfolder import paths
from launcher.runs.folder import RunFolder
from launcher.runs.index import Index, RunEntry, new_run_id
from launcher.submission import preflight
from launcher.submission.launch import launch
from launcher.submission.prepare import refuse_errors, with_conditions
from launcher.submission.record import make_record


def retry(entry: RunEntry, index: Index) -> RunEntry:
    """Submit the plan of a run again under a new run id; the old run stays as it is. Raises LauncherError.

    The job file as it is on disk now does not matter: plan and overrides are those that ran.
    """
    folder = RunFolder.of(entry)
    old = folder.plan()
    plan = with_conditions(as_run(old, new_run_id(old.name)))
    refuse_errors(
        [*preflight.check_plan(plan), *get_backend(plan.backend).check(plan), *preflight.check_world(plan)]
    )
    job_text = folder.read(paths.JOB).decode()
    before = folder.json(paths.RECORD) or {}
    record = make_record(job_text, before.get("origins", {}), Path.cwd())
    return launch(
        plan,
        job_text,
        {
            **record,
            "group": before.get("group", ""),
            "labels": before.get("labels", {}),
            "retry_of": old.run_id,
        },
        index,
    )
