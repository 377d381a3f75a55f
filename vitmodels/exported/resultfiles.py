"""The files of `infer`: a line for each image, written as the answers come, and the summary."""

from __future__ import annotations

import csv
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from vitmodels.exported.results import Answers, Summary
from vitmodels.progress import open_atomic, write_json

PREDICTIONS, UNREADABLE, SUMMARY = "predictions.csv", "unreadable.csv", "summary.json"


class ResultFiles:
    """`predictions.csv` and `unreadable.csv`: both get their names when the `with` block ends without an error."""

    def __init__(self, out: Path, classes: tuple[str, ...]) -> None:
        self._out = out
        self._classes = classes
        self._files = ExitStack()

    def __enter__(self) -> ResultFiles:
        with ExitStack() as files:
            self._predictions = self._table(
                files, PREDICTIONS, "file", "label", "predicted", "probability", "top5"
            )
            self._unreadable = self._table(files, UNREADABLE, "file", "label", "reason")
            self._files = files.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.__exit__(kind, error, trace)

    def _table(self, files: ExitStack, name: str, *columns: str) -> Any:
        writer = csv.writer(files.enter_context(open_atomic(self._out / name)), lineterminator="\n")
        writer.writerow(columns)
        return writer

    def write(self, answers: Answers) -> None:
        """The lines of one batch."""
        for one in answers.predictions:
            five = " ".join(self._name(index) for index in one.classes)
            self._predictions.writerow(
                [one.file, self._name(one.label), self._name(one.classes[0]), one.probabilities[0], five]
            )
        for bad in answers.unreadable:
            self._unreadable.writerow([bad.file, self._name(bad.label), bad.reason])

    def _name(self, index: int) -> str:
        if index < 0:
            return ""
        return self._classes[index] if index < len(self._classes) else str(index)


def write_summary(out: Path, summary: Summary) -> None:
    """`summary.json`, last of all."""
    write_json(out / SUMMARY, asdict(summary))
