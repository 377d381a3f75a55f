"""From checked jobs to running runs: write the runs' folders, hand over to the back end, note them in the index."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from launcher.backends import get_backend, start_all
from launcher.plan.model import Plan
from launcher.runs.index import Index, RunEntry
from launcher.snapshot.archive import Snapshot, pack
from launcher.submission.newrun import NewRun
from launcher.submission.prepare import Prepared, check_fully, selection_for
from launcher.submission.record import make_record
from launcher.submission.refuse import refuse_errors


def submit(
    job: Prepared, index: Index | None = None, *, group: str = "", labels: Mapping[str, str] | None = None
) -> RunEntry:
    """Start the run and return at once. Raises PlanError, StoreError or BackendError, and then nothing is left behind.

    `group` is a name that several runs share, for `status --group`; `labels` are the values that tell them apart.
    """
    return submit_all([(job, labels or {})], index, group=group)[0]


def submit_all(
    jobs: Sequence[tuple[Prepared, Mapping[str, str]]], index: Index | None = None, *, group: str = ""
) -> list[RunEntry]:
    """Start several runs of one back end, with one request where that can be. All or nothing, as `submit`."""
    packed: dict[str, Snapshot] = {}
    runs = [_new_run(check_fully(job), labels, group, packed) for job, labels in jobs]
    return launch_all(runs, index or Index())


def launch_all(runs: Sequence[NewRun], index: Index) -> list[RunEntry]:
    """Start runs of one back end. Raises StoreError or BackendError, with none of them left."""
    index.check_room()
    runs = [run.with_code() for run in runs]
    written: list[NewRun] = []
    try:
        for run in runs:
            written.append(run.claimed())
            written[-1].write_folder()
        handles = start_all(get_backend(runs[0].plan.backend), [run.plan for run in written])
    except BaseException:
        for run in written:
            run.remove_folder()
        raise
    entries = [run.entry(handle) for run, handle in zip(written, handles, strict=True)]
    for entry in entries:
        index.put(entry)
    return entries


def write_run(job: Prepared, index: Index | None = None) -> tuple[RunEntry, str]:
    """Write the run's folder for somebody who sends the request, which is returned, too. Raises as `submit`; starts nothing."""
    run = _new_run(job, {}, "", {}).with_code().claimed()
    try:
        run.write_folder()
    except BaseException:
        run.remove_folder()
        raise
    entry = run.entry(None)
    (index or Index()).put(entry)
    return entry, get_backend(run.plan.backend).render(run.plan, 1)


def _new_run(job: Prepared, labels: Mapping[str, str], group: str, packed: dict[str, Snapshot]) -> NewRun:
    """Raises the error of the findings that forbid the run. `packed` holds the snapshots of earlier runs of a sweep."""
    refuse_errors(job.findings, job.job.origins)
    origins = {key: str(origin) for key, origin in job.job.origins.items()} | rehearsed_origins(job)
    plan, snapshot, names = _with_snapshot(job, packed)
    folder = Path(plan.snapshot.folder) if plan.snapshot else Path.cwd()
    record = make_record(job.job.source_text, origins, folder, names)
    record |= {"snapshot": plan.snapshot.model_dump() if plan.snapshot else None}
    record |= {"group": group, "labels": dict(labels)}
    return NewRun(plan, job.job.source_text, record, snapshot=snapshot)


def _with_snapshot(job: Prepared, packed: dict[str, Snapshot]) -> tuple[Plan, bytes, Collection[str] | None]:
    """The plan with the digest of its snapshot, the snapshot, and its names. Files are read now, so this is what the run works on."""
    if job.plan.snapshot is None:
        return job.plan, b"", None
    folder = Path(job.plan.snapshot.folder)
    selection = selection_for(job.job.spec, job.plan.backend, os.environ, folder)
    assert selection is not None, "only programs of one's own have a snapshot"
    key = selection.identity
    snapshot = packed[key] = packed.get(key) or pack(selection)
    submitted = job.plan.snapshot.model_copy(
        update={"digest": snapshot.digest, "files": len(selection.files), "bytes": selection.bytes}
    )
    return job.plan.model_copy(update={"snapshot": submitted}), snapshot.data, selection.files.keys()


def rehearsed_origins(job: Prepared) -> dict[str, str]:
    """`rehearsal` as the origin of the recipe's values that a rehearsal changed, whatever the job file says."""
    if not job.plan.rehearsal or job.job.recipe is None:
        return {}
    recipe = job.job.recipe.json_dict()
    return {
        f"recipe.{key}": "rehearsal" for key, value in job.plan.recipe.items() if recipe.get(key) != value
    }
