"""Downloads a run's newest checkpoint, so that training resumes where another machine stopped."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from launcher.disk import fsync_folder, mapped, write_atomic
from launcher.errors import IntegrityError, NotFound
from launcher.runfolder.manifest import SetManifest, best_step, local_sets, parse_set_manifest
from launcher.runfolder.paths import BEST, SET_MANIFEST
from launcher.runfolder.sets import remote_sets
from launcher.runfolder.smallfiles import read_small, read_small_object
from launcher.storage.base import ObjectStore

METRICS = "metrics.jsonl"
_BEGUN = ".manifest.json"


def restore_latest(store: ObjectStore, run_dir: Path) -> int | None:
    """Download the newest complete set of `store` to `run_dir/checkpoints`; returns the newest step there.

    The best set, best.json and metrics.jsonl are downloaded, too, unless they are on the disk. A set that does not
    match its manifest is skipped for the next older one; IntegrityError when all are damaged. None: there is no set.
    """
    checkpoints = run_dir / "checkpoints"
    here = local_sets(checkpoints)
    steps = sorted(
        (step for step, names in remote_sets(store).items() if SET_MANIFEST in names), reverse=True
    )
    if not steps and not here:
        return None
    with mapped(checkpoints):
        checkpoints.mkdir(parents=True, exist_ok=True)
    newest = max(here, default=None)
    if steps and (newest is None or newest < steps[0]):
        newest = _newest_good(store, checkpoints, steps, newest)
    _restore_best(store, checkpoints)
    restore_file(store, run_dir, METRICS)
    return newest


def drop_earlier(run_dir: Path, node: int, step: int) -> None:
    """Record that `step` was downloaded to this machine, and delete the sets that earlier calls recorded.

    For machines whose ranks save no checkpoints, and so delete none. The best set is kept.
    """
    note, checkpoints = run_dir / f".restored-{node}", run_dir / "checkpoints"
    best = None
    earlier: set[int] = set()
    with suppress(OSError, ValueError):
        earlier = {int(word) for word in note.read_text(encoding="ascii").split()}
    with suppress(OSError, IntegrityError):
        best = best_step(read_small(checkpoints / "best.json"))
    for old in earlier - {step, best}:
        shutil.rmtree(checkpoints / f"step-{old}", ignore_errors=True)
    write_atomic(note, " ".join(map(str, sorted({step} | (earlier & {best})))).encode())


def _newest_good(store: ObjectStore, checkpoints: Path, steps: list[int], here: int | None) -> int:
    damage: IntegrityError | None = None
    for step in steps:
        if here is not None and step <= here:
            return here
        try:
            _restore_set(store, checkpoints, step)
            return step
        except (IntegrityError, NotFound) as error:
            damage = damage or IntegrityError(error.what, where=error.where, hint=error.hint)
    if here is not None:
        return here
    raise damage or NotFound("no complete checkpoint", where=store.url)


def _restore_set(store: ObjectStore, checkpoints: Path, step: int) -> None:
    """Download to a temporary folder, then rename. The folder keeps its name, so that a retry resumes."""
    final = checkpoints / f"step-{step}"
    source = store.substore(f"checkpoints/step-{step}")
    manifest = _manifest(source, step)
    temporary = checkpoints / f".restore-step-{step}"
    with mapped(temporary):
        if not (temporary / _BEGUN).exists() or (temporary / _BEGUN).read_bytes() != manifest.raw:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            write_atomic(temporary / _BEGUN, manifest.raw)
        for entry in manifest.files:
            path = temporary / entry.key
            path.parent.mkdir(parents=True, exist_ok=True)
            if not (path.is_file() and path.stat().st_size == entry.size):
                source.get_file(entry.key, path, sha256=entry.sha256)
        (temporary / _BEGUN).rename(temporary / SET_MANIFEST)
        fsync_folder(temporary)
        if final.exists():  # an incomplete set: a complete one is not fetched again
            shutil.rmtree(final)
        temporary.rename(final)
        fsync_folder(checkpoints)


def _manifest(source: ObjectStore, step: int) -> SetManifest:
    manifest = parse_set_manifest(source.read(SET_MANIFEST), source.join(SET_MANIFEST))
    if manifest.step != step:
        raise IntegrityError(f"the manifest is that of step {manifest.step}", where=source.url)
    return manifest


def _restore_best(store: ObjectStore, checkpoints: Path) -> None:
    """Download best.json and its set: without them the next evaluation would count as the best one."""
    if (checkpoints / "best.json").exists():
        return
    try:
        data = read_small_object(store, BEST)
        step = best_step(data)
        if step is None:
            return
        if step not in local_sets(checkpoints):
            _restore_set(store, checkpoints, step)
    except (NotFound, IntegrityError):
        return  # the run goes on without it
    write_atomic(checkpoints / "best.json", data)


def restore_file(store: ObjectStore, run_dir: Path, name: str) -> None:
    """Download a file that grows over the attempts of a run, unless it is on the disk or not in the store."""
    if (run_dir / name).exists():
        return
    with suppress(NotFound):
        data = store.read(name)
        with mapped(run_dir / name):
            (run_dir / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(run_dir / name, data)
