"""Training at a glance: `metrics.csv` for spreadsheets, and `curves.png`."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitmodels.progress import write_atomic

COLUMNS = ("epoch", "step", "loss", "lr", "top1", "top5", "images_per_s", "seconds")


def write_curves(rows: Sequence[Mapping[str, Any]], folder: Path, title: str) -> str:
    """Both files. Returns why there is no plot, or nothing."""
    write_csv(rows, folder / "metrics.csv")
    try:
        write_plot(rows, folder / "curves.png", title)
    except ImportError as error:
        return f"no plot: {error}"
    return ""


def write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """One line per epoch; a value that was not measured is empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if row.get(key) is None else row[key] for key in COLUMNS} for row in rows)
    write_atomic(path, out.getvalue())


def write_plot(rows: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Loss, learning rate and accuracy over epochs, as PNG. Raises ImportError without matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(title)
    panels = (("loss", ("loss",)), ("learning rate", ("lr",)), ("accuracy", ("top1", "top5")))
    for axes, (name, keys) in zip(figure.subplots(1, 3), panels, strict=True):
        for key in keys:
            points = [(row["epoch"], row[key]) for row in rows if isinstance(row.get(key), int | float)]
            if points:
                axes.plot(*zip(*points, strict=True), marker="." if len(points) < 50 else "", label=key)
        axes.set_xlabel("epoch")
        axes.set_title(name)
        axes.grid(alpha=0.3)
        if len(keys) > 1 and axes.lines:
            axes.legend()
    temp = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    canvas.print_figure(str(temp), format="png", dpi=110)
    temp.replace(path)
