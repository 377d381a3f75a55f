"""Which checkpoint a node starts from: node 0 chooses it, uploads it, and the other machines download it."""

from __future__ import annotations

import logging
import time

from launcher.disk import locked
from launcher.errors import RunFailed, StoreError, UsageError
from launcher.node.context import NodeContext
from launcher.node.resumefile import restore_files
from launcher.node.statefile import newest_step
from launcher.results.restore import drop_earlier, restore_file, restore_latest
from launcher.storage import ObjectStore

log = logging.getLogger("launcher.node")

PROGRESS = "progress/rank-0.jsonl"
LOCK = ".restore.lock"
"""Node programs of one run may share a run directory: one of them restores at a time."""
UPLOAD_AGAIN_S = 1.0


def restore_newest(context: NodeContext) -> None:
    """On node 0, before the first step: the newest checkpoint of the store onto this disk, if that is newer.

    A run that has none yet starts from the one that model.checkpoint names. Raises UsageError, StoreError.
    """
    plan, run_dir = context.plan, context.plan.run_dir
    with locked(run_dir.root / LOCK):
        here = newest_step(run_dir.checkpoints)
        step = _newest_of_run(context, here)
        if step is None and plan.checkpoint is not None:
            step = _newest_of_other_run(context, plan.checkpoint.open())
        if step is None and plan.own_program:  # it may have saved files of its own kind
            restore_files(context)
        if step != here:
            log.info("restored checkpoint step %d from the store", step)


def _newest_of_run(context: NodeContext, here: int | None) -> int | None:
    """The newest step of disk and store, now on the disk. With a checkpoint on the disk a silent store is no error."""
    run_dir = context.plan.run_dir
    try:
        step = restore_latest(context.store, run_dir.root)
        restore_file(context.store, run_dir.root, PROGRESS)
        return step
    except StoreError as error:
        if here is None:
            raise
        log.warning("starting from checkpoint step %d of this machine: %s", here, error)
        return newest_step(run_dir.checkpoints)


def _newest_of_other_run(context: NodeContext, source: ObjectStore) -> int | None:
    """Raises UsageError when that run has no complete checkpoint; None where checkpoint files are still to be looked for."""
    step = restore_latest(source, context.plan.run_dir.root)
    if step is None and not context.plan.own_program:
        raise UsageError(
            f"no complete checkpoint in {source.url}",
            hint="model.checkpoint names the folder of a run, the one that holds checkpoints/",
            rule="no-checkpoint",
        )
    return step


def share_newest(context: NodeContext) -> int | None:
    """The newest step here. On several machines node 0 blocks until it is uploaded, for the others to download.

    Raises RunFailed when the store does not take it for `upload_patience_s`, Stopped.
    """
    step = newest_step(context.plan.run_dir.checkpoints)
    if context.plan.nodes == 1 or context.node != 0 or step is None:
        return step
    deadline = time.monotonic() + context.plan.upload_patience_s
    while (report := context.collector.sync()).latest_step != step:
        context.stopper.check()
        if time.monotonic() > deadline:
            raise RunFailed(f"checkpoint step {step} can't be brought to the other machines: {report.error}")
        context.heartbeat.set(detail=f"uploading checkpoint step {step} for the other machines")
        time.sleep(UPLOAD_AGAIN_S)
    return step


def download_common(context: NodeContext, step: int | None) -> None:
    """Make `step` the newest checkpoint on this disk; None starts from the beginning. Raises RunFailed, StoreError."""
    run_dir = context.plan.run_dir
    if step is None or newest_step(run_dir.checkpoints) == step:
        return
    with locked(run_dir.root / LOCK):
        here = restore_latest(context.store, run_dir.root)
        if here == step:
            drop_earlier(run_dir.root, context.node, here)
    if here != step:
        raise RunFailed(
            f"node {context.node} has checkpoint step {here}, node 0 has step {step}",
            hint="give every machine an empty output.work_dir of its own, or one that all share",
        )
