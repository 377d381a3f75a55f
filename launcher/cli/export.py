"""`launcher export`: curves of runs, and what else a tracker holds, for the trackers that people use already."""

from __future__ import annotations

import argparse

from launcher.cli.common import add_runs_to_read, named_runs, out

HELP = """Write the curves of a run, or of several, for an experiment tracker. MLflow and SwanLab get results and settings, too; TensorBoard gets
results; CSV has a row for each step, with the run id and a column for each metric. May be repeated, also while the run goes on:
each metric stays one curve, and steps that a restart trained again are in it once. `track:` in a job file does the same by itself while a run goes on (not for swanlab)."""

TO = ("csv", "mlflow", "swanlab", "tensorboard")
SHORT = {"tb": "tensorboard"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_runs_to_read(parser)
    parser.add_argument("--to", required=True, type=_tracker, choices=TO, help="the tracker, or csv")
    parser.add_argument(
        "--out",
        metavar="WHERE",
        help="tensorboard: log folder, default: ./tensorboard; csv: folder or .csv file, default: here; "
        "mlflow: tracking URI, default: MLFLOW_TRACKING_URI; swanlab: log folder, default: ./swanlog",
    )


def run(args: argparse.Namespace) -> int:
    from launcher.export.history import history_of
    from launcher.tracking.trackers import tracker

    chosen = tracker(args.to)
    runs = named_runs(args, args.runs or ["last"])
    for line in chosen.export([history_of(each) for each in runs], args.out):
        out(line)
    return 0


def _tracker(text: str) -> str:
    """Argparse type: the name of a tracker."""
    from vitmodels.suggest import nearest

    if text in TO:
        return text
    close = SHORT.get(text.lower()) or nearest(text, TO)
    hint = f"; did you mean {close}?" if close else ""
    raise argparse.ArgumentTypeError(f"expected {', '.join(TO[:-1])} or {TO[-1]}, found '{text}'{hint}")
