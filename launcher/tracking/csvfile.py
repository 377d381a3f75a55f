"""Curves as one CSV file: a row for each step, a column for each metric."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from launcher.disk import write_text
from launcher.tracking.history import History

DEFAULT = "."


def export(history: History, to: str) -> str:
    """Write `<run id>.csv` into the folder `to`, or the file itself where `to` ends in `.csv`; replaced as a whole."""
    path = Path(to) if to.endswith(".csv") else Path(to) / f"{history.run_id}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, _text(history))
    return str(path)


class CsvFile:
    """The file `path`, replaced as a whole whenever the curves have changed."""

    def __init__(self, path: Path) -> None:
        self._path, self._written = path, ""

    def update(self, history: History) -> None:
        """Raises OSError, StoreError."""
        if (text := _text(history)) != self._written:
            write_text(self._path, text)
            self._written = text


def _text(history: History) -> str:
    names = sorted(history.curves)
    values = {name: {point.step: point.value for point in history.curves[name]} for name in names}
    steps = sorted({step for each in values.values() for step in each})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", *(_cell(name) for name in names)])
    writer.writerows(
        [step, *(repr(values[name][step]) if step in values[name] else "" for name in names)]
        for step in steps
    )
    return text.getvalue()


def _cell(name: str) -> str:
    """A heading that no spreadsheet takes for a formula."""
    return f"'{name}" if name[:1] in "=+-@\t\r" else name
