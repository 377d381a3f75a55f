"""What has changed in the folder of a submission since: the run does not see it, which people should know."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from launcher.disk import digest_file
from launcher.errors import IntegrityError, LauncherError
from launcher.jsontext import parse_json
from launcher.printable import printable
from launcher.runfolder import paths
from launcher.runfolder.smallfiles import read_small, read_small_object
from launcher.runfolder.snapshotindex import SnapshotFile, SnapshotIndex
from launcher.runs.index import RunEntry
from launcher.runs.records import GLANCE_S
from launcher.snapshot.ignore import Ignore
from launcher.snapshot.linked import changed_links
from launcher.snapshot.listing import Lister
from launcher.snapshot.select import is_secret
from launcher.storage.address import local_folder

SHOWN = 3
RECENT_S = 60.0
"""A file changed so shortly before the submission may have changed again in the same second: its bytes tell."""


@dataclass(frozen=True, slots=True)
class Drift:
    """Names of files in `folder`, compared with the snapshot of a run. `linked`: files that the run has by a link, and so changes."""

    folder: str = ""
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    linked: tuple[str, ...] = ()

    def words(self) -> str:
        """For people; empty when nothing has changed."""
        parts = [
            f"{label} {_few(names)}"
            for label, names in (("changed", self.changed), ("removed", self.removed), ("new", self.added))
            if names
        ]
        place = f"in {printable(self.folder)} since the submission"
        copied = f"{place}: {', '.join(parts)}; the run works on its snapshot" if parts else ""
        linked = (
            f"changed {place}, by the run or by others: {_few(self.linked)}; linked, not copied, so what the run writes "
            "there changes your own file and is not in its results"
            if self.linked
            else ""
        )
        return ". ".join(filter(None, (linked, copied)))


def drift_of(entry: RunEntry) -> Drift:
    """Empty for a run that was submitted elsewhere or has no snapshot, and where the store does not answer. Reads changed files."""
    if entry.named_by_url or not _may_have_snapshot(entry):
        return Drift()
    try:
        index = SnapshotIndex.read(read_small_object(entry.store.open(GLANCE_S), paths.SNAPSHOT_INDEX))
    except LauncherError:
        return Drift()
    folder = Path(index.folder)
    if index.host != socket.gethostname() or not folder.is_dir():
        return Drift()
    changed, removed = [], []
    for name, file in index.files.items():
        if name.startswith(f"{paths.SNAPSHOT_ELSEWHERE}/"):
            continue
        state = _compare(folder / name, file, entry.submitted_at)
        changed += [name] if state == "changed" else []
        removed += [name] if state == "removed" else []
    return Drift(
        index.folder,
        tuple(changed),
        tuple(removed),
        tuple(_added(folder, index, entry)),
        tuple(changed_links(index)),
    )


def _may_have_snapshot(entry: RunEntry) -> bool:
    """False where the plan on this machine says that there is none: then no store is asked, which costs more than all else of a look."""
    if not entry.is_here:
        return True
    try:
        snapshot = parse_json(read_small(entry.run_dir.root / paths.PLAN))["snapshot"]
        return snapshot is not None and bool(snapshot["digest"])
    except (OSError, IntegrityError, ValueError, KeyError, TypeError):
        return True


def _compare(path: Path, file: SnapshotFile, submitted_at: float) -> str:
    try:
        status = path.stat()
        is_old = file.mtime_s < submitted_at - RECENT_S
        if is_old and (status.st_size, int(status.st_mtime)) == (file.size, file.mtime_s):
            return ""
        same = status.st_size == file.size and digest_file(path).sha256 == file.sha256
        return "" if same else "changed"
    except OSError:
        return "removed"


def _added(folder: Path, index: SnapshotIndex, entry: RunEntry) -> Iterable[str]:
    named = (local_folder(entry.store.url), entry.run_dir.root.parent, paths.home())
    runs = [each for each in (*named, *(each.parent for each in named[:1] if each)) if each]
    ignore = Ignore.of(folder)
    known = {*index.files, *index.links}
    for name in sorted(Lister(folder, tuple(runs)).all_files().files):
        below = (name.rpartition("/")[0] + "/").startswith(tuple(f"{link}/" for link in index.links))
        if name not in known and not below and not ignore.ignores(name) and not is_secret(name):
            yield name


def _few(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(printable, names[:SHOWN])) + more
