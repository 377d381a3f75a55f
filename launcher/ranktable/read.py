"""Read a rank table of any known form: 1.0, 1.2, 1.3, 2.0, or the `group_list` of platforms that start pods (converted to 1.0).

Reading is lenient and remembers: a number where a string belongs, a wrong count or an unknown key becomes a
finding of the table, and `lint` reports it. Only what is no rank table at all raises here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from launcher.errors import PlanError, UsageError
from launcher.ranktable.lenient import Reader
from launcher.ranktable.model import RankTable
from launcher.ranktable.packed import unpacked
from launcher.ranktable.read_groups import read_groups
from launcher.ranktable.read_v1 import read_v1
from launcher.ranktable.read_v2 import read_v2

FILE_NAMES = ("jobstart_hccl.json", "hccl.json", "rank_table.json")
"""What a platform calls its table inside a folder, tried in this order."""

WaitCallback = Callable[[str], None]

_MAX_BYTES = 1 << 30  # HCCL's own limit


def load(path: Path) -> RankTable:
    """Read `path`, a file or the folder a platform puts its table into. Whatever its status.

    It may be packed with gzip, and that in base64, as some cloud clusters do for large runs. Raises UsageError
    when there is no such file, when it is not JSON, or when it has none of `server_list`, `group_list` and
    `rank_list` though it is not initializing.
    """
    file: Path | None = path
    try:
        file = _file_in(path)
        if file is None:
            raise UsageError("no rank table here", where=str(path), hint=_expected_in(path))
        if file.stat().st_size > _MAX_BYTES:
            raise UsageError("a rank table may not be larger than 1 GiB", where=str(file))
        text = unpacked(file.read_bytes(), _MAX_BYTES, where=str(file)).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"not UTF-8 text: {error.reason} at byte {error.start}", where=str(file)) from None
    except OSError as error:
        raise UsageError(f"can't be read: {error.strerror}", where=str(file)) from None
    return parse(text, where=str(file))


def parse(text: str, *, where: str = "") -> RankTable:
    """Read a table from its text. Raises UsageError as `load` does."""
    reader = Reader(where)
    try:
        document = json.loads(text, object_pairs_hook=reader.pairs)
    except json.JSONDecodeError as error:
        place = f"{where}:{error.lineno}:{error.colno}" if where else f"line {error.lineno}"
        hint = "The file is empty: is its writer still at work?" if not text.strip() else ""
        raise UsageError(f"not JSON: {error.msg}", where=place, hint=hint) from None
    except (
        RecursionError,
        ValueError,
    ) as error:  # nested beyond reason, or a number with thousands of digits
        raise UsageError(f"not a rank table: {error}", where=where) from None
    if isinstance(document, dict):
        for key, read in (("server_list", read_v1), ("group_list", read_groups), ("rank_list", read_v2)):
            if isinstance(document.get(key), list):
                return replace(read(reader, document), source=where, found=reader.finished())
        if document.get("status") == "initializing":
            version = reader.text(document, "version", "")
            return RankTable(version, "initializing", (), source=where, found=reader.finished())
    hint = "A rank table has a list named server_list (1.0, 1.2), rank_list (2.0) or group_list (pods)."
    raise UsageError("not a rank table", where=where, hint=hint)


def wait(
    path: Path, timeout_s: float, on_wait: WaitCallback | None = None, *, poll_s: float = 1.0
) -> RankTable:
    """Block until the platform has completed the table at `path` (file or folder), then return it.

    `on_wait` gets a sentence saying what is missing, whenever that changes. Raises PlanError after
    `timeout_s`. A half-written file counts as not there yet.
    """
    deadline = time.monotonic() + timeout_s
    reported = ""
    while True:
        try:
            table = load(path)
            if table.completed:
                return table
            missing = f"{table.source}: status is {table.status!r}, not 'completed'"
        except UsageError as error:
            missing = f"{error.where or path}: {error.what}"
        if on_wait is not None and missing != reported:
            on_wait(missing)
            reported = missing
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            raise PlanError(
                f"no completed rank table after {timeout_s:g} s: {missing}",
                where=str(path),
                hint="The platform writes it once every machine of the job runs; look for one that did not start.",
            )
        time.sleep(min(poll_s, remaining_s))


def _file_in(path: Path) -> Path | None:
    if not path.is_dir():
        return path if path.exists() else None
    named = (path / name for name in FILE_NAMES)
    first = next((file for file in named if file.is_file()), None)
    if first is not None:
        return first
    others = sorted(path.glob("*.json"))
    return others[0] if len(others) == 1 else None


def _expected_in(path: Path) -> str:
    if path.is_dir():
        return f"Expected {', '.join(FILE_NAMES)} or exactly one .json file in this folder."
    return "Give the file, or the folder that RANK_TABLE_FILE names."
