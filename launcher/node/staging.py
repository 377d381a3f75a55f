"""The run's data set onto this machine, with its progress in the heartbeat."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from launcher.dataset.packed import Part
from launcher.dataset.plain import StageProgress
from launcher.dataset.single import single_file
from launcher.dataset.stage import stage_data
from launcher.disk import mapped
from launcher.errors import RunFailed
from launcher.node.context import NodeContext
from launcher.plan.model import Plan
from launcher.portable import disk_space
from launcher.runfolder.states import Staging
from launcher.units import show_bytes, show_duration

log = logging.getLogger("launcher.node")


def stage(context: NodeContext) -> Path:
    """Block until the data set is in the cache, verified; returns its folder or file, an empty path for a run without data.

    Raises StoreError, NoSpace, Stopped, and RunFailed when another machine of the run has failed meanwhile.
    """
    plan = context.plan
    if plan.data is None:
        return Path()
    context.heartbeat.set(phase="staging")
    file = single_file(plan.data) if plan.own_program else None
    staged = stage_data(
        file or plan.data.open(),
        Path(plan.cache_dir),
        unpacked=plan.unpack,
        part=Part(context.node, plan.nodes) if plan.placement == "shard" else None,
        reserve_bytes=_reserve_bytes(plan),
        workers=plan.stage_workers,
        timeout_s=plan.stage_timeout_s,
        progress=_StagingReport(context).update,
    )
    how = "already here, verified before" if staged.reused else f"in {show_duration(staged.seconds)}"
    log.info("staged %d files, %s, %s: %s", staged.files, show_bytes(staged.bytes), how, staged.path)
    return staged.path / file.name if file else staged.path


@dataclass(frozen=True, slots=True)
class _StagingReport:
    """Shows the progress of staging, and ends staging when the run should stop."""

    context: NodeContext

    def update(self, progress: StageProgress) -> None:
        self.context.stopper.check()
        if stop := self.context.peers.peer_stop():
            raise RunFailed(stop.reason)
        staging = Staging(
            bytes_done=progress.bytes_done,
            bytes_total=progress.bytes_total,
            bytes_per_s=progress.bytes_per_s,
            waiting_for=progress.waiting_for or "",
        )
        self.context.heartbeat.set(staging=staging, detail=staging.words())


def _reserve_bytes(plan: Plan) -> int:
    """Disk space that the run's checkpoints will need, and what has to stay free on the disk of the cache."""
    numbers = plan.arithmetic
    checkpoints = numbers.checkpoint_bytes * (numbers.keep_checkpoints + 2) if numbers else 0
    return checkpoints + (int(disk_bytes(Path(plan.cache_dir)) * plan.keep_free) if plan.keep_free else 0)


def disk_bytes(folder: Path) -> int:
    """Size of the disk of a folder, which may not exist yet."""
    while not folder.exists():
        folder = folder.parent
    with mapped(folder):
        return disk_space(folder).total
