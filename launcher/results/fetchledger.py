"""The ledger of a folder of fetched results, `.launcher-fetch.json`: which of its files were written by fetches."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

from launcher.disk import write_atomic
from launcher.errors import IntegrityError, UsageError
from launcher.jsontext import parse_json
from launcher.runfolder.smallfiles import read_small

SAVE_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file as a fetch left it."""

    size: int
    mtime_ns: int
    sha256: str | None


class FetchLedger:
    """The files of one folder, by key: `_written`, and `_begun` for those whose download has begun and not ended.

    On the disk a file that is begun is an empty list, a written one is [size, mtime_ns, sha256].
    """

    def __init__(self, path: Path, source: str) -> None:
        """Reads the ledger, if there is one. Raises UsageError for a broken one, and for one of another run."""
        self._path = path
        self._source = source
        self._begun: set[str] = set()
        self._written: dict[str, WrittenFile] = {}
        self._saved_at = 0.0
        try:
            value = parse_json(read_small(path))
            written_source, files = str(value["source"]), dict(value["files"])
            self._begun = {key for key, fields in files.items() if not fields}
            self._written = {key: WrittenFile(*fields) for key, fields in files.items() if fields}
        except FileNotFoundError:
            return
        except (OSError, IntegrityError, ValueError, KeyError, TypeError) as error:
            hint = "remove that file to let the files here be checked again"
            raise UsageError("the ledger can't be read", where=str(path), hint=hint) from error
        if written_source != source:
            raise UsageError(
                f"the folder holds results of {written_source}",
                where=str(path.parent),
                hint="name an empty folder; results of two runs are never mixed",
            )

    def owns(self, key: str, size: int, mtime_ns: int) -> bool:
        """Whether a file of this size and time was written by a fetch, or may be one that was interrupted."""
        written = self._written.get(key)
        is_as_written = written is not None and (written.size, written.mtime_ns) == (size, mtime_ns)
        return key in self._begun or is_as_written

    def found(self, key: str, file: WrittenFile) -> None:
        """A file that is already there has the right content: it counts as written by a fetch."""
        self._begun.discard(key)
        self._written[key] = file

    def begin(self, keys: Iterable[str]) -> None:
        """The downloads of these files begin now. Saves."""
        self._begun |= set(keys)
        for key in self._begun:
            self._written.pop(key, None)
        self.save()

    def written(self, key: str, file: WrittenFile) -> None:
        """A download has ended. Saves from time to time."""
        self.found(key, file)
        if time.monotonic() > self._saved_at + SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        self._saved_at = time.monotonic()
        files = {key: list(astuple(file)) for key, file in self._written.items()}
        files |= {key: [] for key in self._begun}
        value = {"format": 1, "source": self._source, "files": dict(sorted(files.items()))}
        write_atomic(self._path, (json.dumps(value, indent=1) + "\n").encode())
