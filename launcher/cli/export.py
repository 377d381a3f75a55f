"""`launcher export`: curves and results of a run for the trackers that people use already."""

from __future__ import annotations

import argparse

from launcher.cli.common import add_run_to_read, named_run, out

HELP = """Write the curves, results and settings of a run for an experiment tracker. May be repeated, also while the run goes on:
each metric stays one curve, and steps that a restart trained again are in it once. `track:` in a job file does the same by itself while a run goes on (not for swanlab)."""

TO = ("csv", "mlflow", "swanlab", "tensorboard")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_to_read(parser)
    parser.add_argument("--to", required=True, choices=TO, help="the tracker, or csv")
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
    out(chosen.export(history_of(named_run(args)), args.out))
    return 0
