"""Curves as one CSV file: a row for each step of each run, a column for the run id and for each metric."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from launcher.disk import write_text
from launcher.errors import UsageError
from launcher.tracking.history import History

DEFAULT = "."
RUN_ID = "run_id"


def export(histories: Sequence[History], to: str) -> list[str]:
    """Write one `<run id>.csv` for each run into the folder `to`, or one file of all where `to` ends in `.csv`.

    A file is replaced as a whole. Raises UsageError for one that holds anything else than these runs.
    """
    if to.endswith(".csv"):
        return [_write(Path(to), histories)]
    return [_write(Path(to) / f"{each.run_id}.csv", [each]) for each in histories]


def _write(path: Path, histories: Sequence[History]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    held, wanted = _run_ids(path), [each.run_id for each in histories]
    if held is None:
        what, hint = "is there already, and no export of launcher wrote it", "remove it, or name another file"
        raise UsageError(what, where=str(path), hint=hint)
    if others := [each for each in held if each not in wanted]:
        together = " ".join(dict.fromkeys((*held, *wanted)))
        raise UsageError(
            f"holds the curves of {', '.join(others)}, which this export would replace",
            where=str(path),
            hint=f"name another file, or export all together: launcher export {together} --to csv --out {path}",
        )
    write_text(path, _text(histories))
    return str(path)


def _run_ids(path: Path) -> list[str] | None:
    """The runs of an earlier export, none without such a file; None for a file that is no export."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if (reader.fieldnames or [])[:2] != ["step", RUN_ID]:
                return None
            return list(dict.fromkeys(row[RUN_ID] for row in reader))
    except FileNotFoundError:
        return []
    except (UnicodeDecodeError, csv.Error):
        return None


class CsvFile:
    """The file `path`, replaced as a whole whenever the curves have changed."""

    def __init__(self, path: Path) -> None:
        self._path, self._written = path, ""

    def update(self, history: History) -> None:
        """Raises OSError, StoreError."""
        if (text := _text([history])) != self._written:
            write_text(self._path, text)
            self._written = text


def _text(histories: Sequence[History]) -> str:
    names = sorted({name for each in histories for name in each.curves})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", RUN_ID, *(_cell(name) for name in names)])
    for history in histories:
        curves = history.curves
        values = [{point.step: point.value for point in curves.get(name, ())} for name in names]
        writer.writerows(
            [step, history.run_id, *(repr(each[step]) if step in each else "" for each in values)]
            for step in sorted({step for each in values for step in each})
        )
    return text.getvalue()


def _cell(name: str) -> str:
    """A heading that no spreadsheet takes for a formula."""
    return f"'{name}" if name[:1] in "=+-@\t\r" else name
