"""Class folders into tar shards, one process per shard, and `packed.json` at the end: complete or absent.

A killed run is continued by running it again: shards that are complete in the destination are kept, unless a file of theirs
changed.
"""

from __future__ import annotations

import ctypes
import hashlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from launcher.dataset.layout import Draft, count_classes, images_by_content, lay_out, list_source
from launcher.dataset.shards import PACKED, Packed, Shard, index_key, read_packed, tar_key
from launcher.dataset.write import Made, Task, another_set, check_shard, make_shard
from launcher.disk import LockTimeout, locked, mapped
from launcher.errors import StoreError, UsageError
from launcher.portable import usable_cores
from launcher.storage.address import StoreAddress
from launcher.storage.base import ObjectStore

SHARD_BYTES = 1 << 30
MOST_JOBS = 8


@dataclass(frozen=True, slots=True)
class PackProgress:
    """How far packing is; `kept` shards were there from an earlier run."""

    shards_done: int
    shards_total: int
    kept: int
    bytes_done: int
    bytes_total: int


@dataclass(frozen=True, slots=True)
class PackReport:
    """A packed data set that is complete. `kept` shards were there already."""

    packed: Packed
    kept: int
    seconds: float


OnPacked = Callable[[PackProgress], None]
Work = Callable[[Task], Made]


def pack(
    source: StoreAddress,
    dest: StoreAddress,
    scratch: Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    seed: int = 0,
    jobs: int | None = None,
    progress: OnPacked = lambda _progress: None,
) -> PackReport:
    """Pack all of `source` into `dest`, by way of shards in the local folder `scratch`. Blocks; safe to repeat.

    Needs room for one shard per job in `scratch`. Raises UsageError for a destination that holds something else,
    NotFound for an empty source, StoreError.
    """
    started = time.monotonic()
    dest.refuse_objects_above()
    from_store, to_store = source.open(), dest.open()
    _check_apart(from_store.url, to_store.url)
    listed_at = from_store.now()
    infos = list(list_source(from_store))
    drafts = lay_out(infos, shard_bytes, seed, images_by_content(from_store, infos))
    _check_dest(to_store, drafts)
    before = read_packed(to_store)
    with _scratch(scratch, to_store.url) as folder:
        tasks = [Task(source, dest, draft, folder, listed_at) for draft in drafts]
        job_count = jobs or min(MOST_JOBS, usable_cores())
        work = make_shard if before is None else check_shard
        shards, kept = _all_shards(work, tasks, job_count, progress)
    if before is not None:
        if before.shards != tuple(shards):
            raise another_set(to_store, "its shards are others")
        return PackReport(before, kept, time.monotonic() - started)
    packed = Packed(seed=seed, shard_bytes=shard_bytes, classes=count_classes(drafts), shards=tuple(shards))
    to_store.put(PACKED, packed.to_bytes())
    return PackReport(packed, kept, time.monotonic() - started)


def _check_apart(source: str, dest: str) -> None:
    first, second = source.rstrip("/") + "/", dest.rstrip("/") + "/"
    if first.startswith(second) or second.startswith(first):
        raise UsageError(
            f"{dest} and {source} lie in each other",
            where="DST",
            hint="name a folder outside of the data set",
        )


def _check_dest(dest: ObjectStore, drafts: list[Draft]) -> None:
    """Only what this very packing writes may be there; nothing is ever removed."""
    ours = {PACKED, *(tar_key(each.name) for each in drafts), *(index_key(each.name) for each in drafts)}
    for info in dest.list():
        if info.key not in ours:
            raise UsageError(
                f"{dest.url} is not empty: {info.key!r}",
                where="DST",
                hint="name an empty folder, or remove what an earlier packing with other options left",
            )


@contextmanager
def _scratch(folder: Path, dest: str) -> Iterator[Path]:
    """A folder for unfinished shards of this destination, held by one packing at a time on this machine."""
    own_folder = folder / hashlib.sha256(dest.encode()).hexdigest()[:16]
    with mapped(own_folder):
        own_folder.mkdir(parents=True, exist_ok=True)
    try:
        with mapped(own_folder), locked(own_folder / "lock", timeout_s=0):
            for shard in own_folder.glob("*.tar"):  # of a killed run
                with suppress(OSError):
                    shard.unlink()
            yield own_folder
    except LockTimeout as error:
        raise UsageError(
            f"another process of this machine is packing into {dest}", where="DST", hint="wait for it to end"
        ) from error


def _all_shards(work: Work, tasks: list[Task], jobs: int, progress: OnPacked) -> tuple[list[Shard], int]:
    total = sum(entry.size for task in tasks for entry in task.draft.entries)
    done: dict[str, Shard] = {}
    kept = size = 0
    progress(PackProgress(0, len(tasks), 0, 0, total))
    for made in _results(work, tasks, min(jobs, len(tasks))):
        done[made.shard.name] = made.shard
        kept, size = kept + made.kept, size + made.shard.payload
        progress(PackProgress(len(done), len(tasks), kept, size, total))
    return [done[task.draft.name] for task in tasks], kept


def _results(work: Work, tasks: list[Task], jobs: int) -> Iterator[Made]:
    """Shards as they get ready. The first error ends the packing; what is complete stays."""
    if jobs <= 1:
        yield from map(work, tasks)
        return
    pool = ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), initializer=_start, initargs=(os.getpid(),)
    )
    try:
        pending: set[Future[Made]] = {pool.submit(work, task) for task in tasks}
        while pending:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
    except BrokenProcessPool as error:
        raise StoreError(
            "a packing process died", hint="the machine may be out of memory; run again to continue"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no process outlives the packing
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
