"""Train a model on an image folder: one process per rank, resumable at any step.

    python -m vitmodels.train --config RECIPE --data DIR --run-dir DIR

Exit codes: 0 done, 2 wrong usage or recipe, 75 stopped by SIGTERM after saving (start again to resume), 1 else.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from vitmodels.config import Recipe
from vitmodels.device.runtime import Rank, StopSignal, quiet, read_rank, silence_exit
from vitmodels.errors import EXIT_RESUME
from vitmodels.program import common_parser, data_dir_of, finish, read_recipe, run_dir_of
from vitmodels.progress import Progress


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    quiet()
    parser = common_parser("train", (__doc__ or "").splitlines()[0])
    args = parser.parse_args(argv)
    stop = StopSignal()
    stop.install()
    reporter: list[Progress] = []

    def on_error(kind: str, text: str) -> None:
        for progress in reporter:
            progress.event("error", kind=kind, text=text)

    code = finish(lambda: _run(args, stop, reporter), on_error)
    if os.environ.get("RANK_SIZE", "1") != "1":
        silence_exit()
    return code


def _run(args: argparse.Namespace, stop: StopSignal, reporter: list[Progress]) -> int:
    rank = read_rank(os.environ)
    if rank.scheduler:
        from vitmodels.device.runtime import run_scheduler

        run_scheduler(args.device)
        return 0
    recipe = read_recipe(args)
    run_dir = run_dir_of(args)
    data = data_dir_of(args, recipe)
    progress = Progress(run_dir, rank.id)
    reporter.append(progress)
    progress.phase("starting")
    finished = _train(args, recipe, run_dir, data, rank, progress, stop)
    return 0 if finished else EXIT_RESUME


def _train(
    args: argparse.Namespace,
    recipe: Recipe,
    run_dir: Path,
    data: Path,
    rank: Rank,
    progress: Progress,
    stop: StopSignal,
) -> bool:
    """Everything that needs MindSpore; returns whether the target epoch was reached."""
    from vitmodels.device.runtime import Group, pick_device

    group = Group(rank, pick_device(args.device, recipe.device_target), recipe.cpu_threads)
    stop.install()
    from vitmodels.training.assemble import assemble_loop

    return assemble_loop(recipe, data, run_dir, group, progress, lambda: stop.received).run()


if __name__ == "__main__":
    sys.exit(main())
