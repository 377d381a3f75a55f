"""The checkpoint file that a program of the user's own resumes from: found on this disk, else brought back from the store.

Files that were cut off while they were written are passed over for older ones.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from launcher.errors import IntegrityError, NotFound, RunFailed, StoreError, UsageError
from launcher.node.context import NodeContext
from launcher.results.collector import Collector
from launcher.runfolder.checkpointfiles import (
    CheckpointFile,
    FileSet,
    is_checkpoint,
    is_whole,
    local_files,
    newest_first,
)
from launcher.storage import ObjectStore

log = logging.getLogger("launcher.node")


def restore_files(context: NodeContext) -> None:
    """On node 0, before the first step: the newest checkpoint files of the store onto this disk, if those are newer.

    A run that has none yet takes those of the run that model.checkpoint names. Raises UsageError, StoreError.
    """
    plan, root = context.plan, context.plan.run_dir.root
    here = next(_here(context), None)
    try:
        stored = newest_first(_as_written(file, context.collector) for file in _stored(context.store))
    except StoreError as error:
        if here is None:
            raise
        log.warning("resuming from a checkpoint file of this machine: %s", error)
        return
    newer = [each for each in stored if here is None or each.mtime > here.mtime]
    if any(_download_all(context.store, root, each) for each in newer) or here or plan.checkpoint is None:
        return
    source = plan.checkpoint.open()
    if not any(_download_all(source, root, each) for each in newest_first(_stored(source))):
        raise UsageError(
            f"no checkpoint file in {source.url}",
            hint="model.checkpoint names the folder of a run",
            rule="no-checkpoint",
        )


def newest_files(context: NodeContext) -> str:
    """On node 0: name of the newest whole checkpoint on this disk; empty when there is none.

    On several machines only one counts that the store has, since the others may have to get it. Raises StoreError.
    """
    for each in _here(context):
        if context.plan.nodes == 1 or all(_is_stored(context.store, file) for file in each.files.values()):
            return each.name
    return ""


def files_of_ranks(context: NodeContext, name: str) -> dict[int, str]:
    """Path of the checkpoint `name` for each rank of this machine, downloaded where it is missing. Raises RunFailed, StoreError."""
    if not name:
        return {}
    plan, root = context.plan, context.plan.run_dir.root
    ranks = [rank.rank for rank in plan.ranks_of(context.node)]
    own = [f"{plan.run_dir.work.name}/rank-{rank}/" for rank in ranks]
    here = _named(name, local_files(root))
    stored = _named(name, _stored(context.store)) if plan.nodes > 1 else None
    paths = {}
    for rank in ranks:
        file = here.files.get(rank) if here else None
        if stored and not (file and file.key.startswith(tuple(own))):  # what others wrote may be newer there
            file = stored.of_rank(rank)
            _download(context.store, root, file)
        if file is None and here:
            file = here.of_rank(rank)
        if file is None:
            raise RunFailed(f"checkpoint {name}, which node 0 resumes from, is not on node {context.node}")
        paths[rank] = str(root / file.key)
    return paths


def newest_at(context: NodeContext) -> int | None:
    """When the newest checkpoint file on this disk was written, in milliseconds: a mark of progress."""
    newest = next(_here(context), None)
    return int(newest.mtime * 1000) if newest else None


def _here(context: NodeContext) -> Iterator[FileSet]:
    """The whole checkpoints on this disk, newest first. What lay in the working folder before the run is none of them."""
    root, state = context.plan.run_dir.root, context.state.value
    since = min([state.submitted_at, *(attempt.started_at for attempt in state.attempts)])  # clocks differ
    for each in newest_first(local_files(root, since)):
        if all(is_whole(root / file.key) for file in each.files.values()):
            yield each
        else:
            log.warning("checkpoint %s was cut off while it was written; an older one is taken", each.name)


def _stored(store: ObjectStore) -> Iterable[CheckpointFile]:
    return (
        CheckpointFile(info.key, info.size, info.mtime) for info in store.list() if is_checkpoint(info.key)
    )


def _as_written(file: CheckpointFile, collector: Collector) -> CheckpointFile:
    """A stored file with the time at which this machine wrote it, in place of that of its upload."""
    record = collector.uploaded(file.key)
    if record is None or record.size != file.size:
        return file
    return CheckpointFile(file.key, file.size, min(file.mtime, record.mtime_ns / 1e9))


def _named(name: str, files: Iterable[CheckpointFile]) -> FileSet | None:
    return next((each for each in newest_first(files) if each.name == name), None)


def _is_stored(store: ObjectStore, file: CheckpointFile) -> bool:
    info = store.head(file.key)
    return info is not None and info.size == file.size


def _download_all(store: ObjectStore, root: Path, files: FileSet) -> bool:
    """False for files that are gone, damaged or cut off: an older checkpoint is the next choice."""
    try:
        return all(_download(store, root, file) for file in files.files.values())
    except (IntegrityError, NotFound) as error:
        log.warning("checkpoint %s is passed over: %s", files.name, error)
        return False


def _download(store: ObjectStore, root: Path, file: CheckpointFile) -> bool:
    """Download one file to its place; False, and the file removed, when it had been cut off before its upload."""
    path = root / file.key
    path.parent.mkdir(parents=True, exist_ok=True)
    store.get_file(file.key, path)
    if is_whole(path):
        log.info("%s was brought back from the store", file.key)
        return True
    path.unlink()
    log.warning("%s was cut off while it was written; an older one is taken", file.key)
    return False
