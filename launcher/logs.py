"""Read a run's logs: from its directory on this machine, or from its folder in the store."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from launcher.errors import NoSuchRun
from launcher.runs import Entry
from launcher.storage import ObjectStore

_NAME = re.compile(
    r"^logs/attempt-(?P<attempt>\d+)/(?P<name>node-\d+/(?:node|scheduler|rank-(?P<rank>\d+)))\.log$"
)


@dataclass
class LogReader:
    """Gives, call by call, the lines that are new since the last one. `attempt` None is all of them."""

    entry: Entry
    rank: int | None = None
    attempt: int | None = None
    _offsets: dict[str, int] = field(default_factory=dict)

    def read(self) -> dict[str, list[str]]:
        """New whole lines per log, by `node-<k>/rank-<r>`. Raises NoSuchRun for a rank or attempt without a log, StoreError."""
        root = self.entry.run_dir.root
        if (root / "logs").is_dir():
            found = {
                path.relative_to(root).as_posix(): path.stat().st_size
                for path in sorted((root / "logs").rglob("*.log"))
            }
            source: Path | ObjectStore = root
        else:
            source = self.entry.store.open()
            found = {info.key: info.size for info in source.list("logs/")}
        wanted = self._wanted(found)
        if found and not wanted and not self._offsets:
            known = ", ".join(sorted({match["name"] for match in map(_NAME.match, found) if match}))
            raise NoSuchRun(f"{self.entry.run_id} has no such log; there are {known}")
        return {
            name: lines for key, name in wanted.items() if (lines := self._new_lines(source, key, found[key]))
        }

    def _wanted(self, keys: Iterable[str]) -> dict[str, str]:
        matches = [match for match in map(_NAME.match, keys) if match]
        several = len({match["attempt"] for match in matches}) > 1
        return {
            match[0]: f"attempt-{match['attempt']}/{match['name']}" if several else match["name"]
            for match in sorted(matches, key=lambda match: (int(match["attempt"]), match["name"]))
            if self.attempt in (None, int(match["attempt"]))
            and (self.rank is None or match["rank"] == str(self.rank))
        }

    def _new_lines(self, source: Path | ObjectStore, key: str, size: int) -> list[str]:
        start = self._offsets.get(key, 0)
        if size <= start:
            return []
        data = _read(source, key, start)
        whole = data[: data.rfind(b"\n") + 1]
        self._offsets[key] = start + len(whole)
        return whole.decode("utf-8", "replace").splitlines()


def _read(source: Path | ObjectStore, key: str, start: int) -> bytes:
    if isinstance(source, Path):
        with (source / key).open("rb") as file:
            file.seek(start)
            return file.read()
    return source.read(key, start)
