"""One data set on one machine, in whatever form the store has it: class folders, or shards with `packed.json`."""

from __future__ import annotations

from pathlib import Path

from launcher.dataset.packed import PackedView, Part
from launcher.dataset.plain import OnProgress, Staged, stage
from launcher.dataset.shards import read_packed
from launcher.dataset.unpack import unpack
from launcher.errors import PlanError
from launcher.storage.base import ObjectStore


def stage_data(
    store: ObjectStore,
    cache_dir: Path,
    *,
    unpacked: bool = True,
    part: Part | None = None,
    reserve_bytes: int = 0,
    workers: int = 16,
    timeout_s: float | None = None,
    progress: OnProgress | None = None,
) -> Staged:
    """Like `stage`. A packed data set is unpacked, or left packed; with `part` only that part of it is fetched, packed.

    Class folders are staged as they are. Raises PlanError for a part of those.
    """
    packed = read_packed(store)
    if packed is None and part is not None:
        raise PlanError(
            "data.placement: shard needs a packed data set, and there is no packed.json",
            where=store.url,
            hint="make one with `launcher pack`, or set data.placement: full",
        )
    if packed is not None and unpacked and part is None:
        return unpack(
            store,
            packed,
            cache_dir,
            reserve_bytes=reserve_bytes,
            workers=workers,
            timeout_s=timeout_s,
            progress=progress,
        )
    return stage(
        store if packed is None else PackedView(store, packed, part),
        cache_dir,
        reserve_bytes=reserve_bytes,
        workers=workers,
        timeout_s=timeout_s,
        progress=progress,
    )
