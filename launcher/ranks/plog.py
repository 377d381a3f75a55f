"""CANN's own logs (plog) of the ranks: found after a gang has ended badly, copied to the logs of the attempt, read for evidence.

CANN writes `{debug,run,security}/plog/plog-<pid>_<time>.log` and `.../device-<id>/device-<pid>_<time>.log` under
ASCEND_PROCESS_LOG_PATH, and begins a new file when one is full. What is copied is capped for each rank and has its secrets
starred out; a folder that the user named is read, never changed.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from launcher.diagnosis.cut import LINE_LIMIT
from launcher.diagnosis.verdict import OtherLog
from launcher.disk import write_private
from launcher.ranks.gang import Process
from launcher.runfolder.paths import PLOG
from vitmodels.secrets import mask

log = logging.getLogger("launcher.node")

VARIABLE = "ASCEND_PROCESS_LOG_PATH"
RANK_BYTES = 2 << 20
"""So much is kept of the logs of one rank."""
FILE_BYTES = 512 << 10
"""Of a longer file the beginning and the end are kept."""
MOST_FILES = 1000
_FILE = re.compile(r"(?:plog|device)-(?:\d+_)?(?P<pid>\d+)_\d+(?:\.\d+)?\.log(?:\.\d+)?$")
_ERROR = re.compile(rb"^\[(?:ERROR|CRITICAL|EVENT_ERROR)\]", re.MULTILINE)
_SUSPECT = ("secret", "passw", "token", "key", "credential", "signature", "pwd", "auth", "://", "ak", "sk")
"""One of these stands in every line that holds a secret, in small letters."""
_CUT = "\n[launcher: the middle of this file is left out]\n"


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    name: str
    mtime: float
    has_errors: bool


def collect(
    processes: Sequence[Process], pids: Mapping[str, int], since: float, target: Path
) -> dict[str, tuple[OtherLog, ...]]:
    """What CANN logged of each process, by its name, copied below `target`. Never raises: a log that can't be read is left out.

    `since`: older files belong to an earlier attempt. Where processes share a folder a file belongs to the one with its pid.
    """
    folders = [process.env.get(VARIABLE, "") for process in processes]
    found: dict[str, tuple[OtherLog, ...]] = {}
    for process, folder in zip(processes, folders, strict=True):
        if not folder or process.rank is None:
            continue
        own = folders.count(folder) == 1 and Path(folder).name == f"attempt-{process.env['LAUNCHER_ATTEMPT']}"
        try:
            files = _files(Path(folder), None if own else pids.get(process.name, -1), since)
            found[process.name] = tuple(_copied(files, target / f"rank-{process.rank}"))
        except OSError as error:
            log.warning("%s: its CANN logs can't be read: %s", process.name, error)
    return found


def _files(folder: Path, pid: int | None, since: float) -> list[_Found]:
    """The logs of one process, those with errors first, of these the newest."""
    found = []
    for path in _walk(folder):
        match = _FILE.fullmatch(path.name)
        if match is None or (pid is not None and int(match["pid"]) != pid):
            continue
        with suppress(OSError):
            mtime = path.stat().st_mtime
            if mtime >= since - 1:
                name = path.relative_to(folder).as_posix()
                found.append(_Found(path, name, mtime, _ERROR.search(_ends(path)) is not None))
    return sorted(found, key=lambda each: (not each.has_errors, -each.mtime))


def _walk(folder: Path) -> Iterator[Path]:
    """Regular files below the folder, at most `MOST_FILES`; links are not followed."""
    count = 0
    for current, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not Path(current, name).is_symlink())
        for name in sorted(names, reverse=True):
            path = Path(current) / name
            if path.is_symlink() or not path.is_file():
                continue
            count += 1
            if count > MOST_FILES:
                return
            yield path


def _ends(path: Path) -> bytes:
    """The file, or its first and last bytes with a mark between."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= FILE_BYTES:
            return file.read(FILE_BYTES)
        head = file.read(FILE_BYTES // 2)
        file.seek(size - FILE_BYTES // 2)
        return head + _CUT.encode() + file.read(FILE_BYTES // 2)


def _starred(text: str) -> str:
    """The text with its secrets starred out and its long lines cut. Lines that can't hold a secret are not looked at again."""
    lines = (line[:LINE_LIMIT] for line in text.split("\n"))
    return "\n".join(mask(line) if _is_suspect(line.lower()) else line for line in lines)


def _is_suspect(line: str) -> bool:
    return any(word in line for word in _SUSPECT)


def _copied(files: Sequence[_Found], target: Path) -> Iterator[OtherLog]:
    room = RANK_BYTES
    for each in files:
        text = _starred(_ends(each.path).decode("utf-8", "replace"))
        size = len(text.encode())
        if size > room:
            continue
        room -= size
        write_private(target / each.name, text)
        yield OtherLog(f"{PLOG}/{target.name}/{each.name}", text)
