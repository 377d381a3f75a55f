"""Train a model on an image folder: one process per rank, resumable at any step.

    python -m vitmodels.train --config RECIPE --data DIR --run-dir DIR

Exit codes: 0 done, 2 wrong usage or recipe, 75 stopped by SIGTERM or Ctrl-C after saving (start again to resume), 130
stopped by Ctrl-C before the first step, 1 else.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from vitmodels.program import (
    add_strict_option,
    common_parser,
    data_dir_of,
    end,
    finish,
    read_recipe,
    run_dir_of,
)

if TYPE_CHECKING:
    from vitmodels.config import Recipe
    from vitmodels.device.runtime import Rank, StopSignal
    from vitmodels.progress import Progress


def main(argv: list[str] | None = None, *, stop: StopSignal | None = None) -> int:
    """Command line; returns the exit code. `stop` takes the place of the signal to stop."""
    parser = common_parser("train", (__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--resume-as-pretrained",
        action="store_true",
        help="when the checkpoints in the run directory belong to another training: "
        "put them aside, and start anew from their weights",
    )
    add_strict_option(parser)
    parser.add_argument(
        "--profile-steps",
        metavar="FIRST-LAST",
        help="steps that MindSpore's profiler records (default: $LAUNCHER_PROFILE_STEPS, else none)",
    )
    parser.add_argument(
        "--profile-ranks",
        metavar="RANK,…",
        help="ranks that do (default: $LAUNCHER_PROFILE_RANKS, else 0)",
    )
    args = parser.parse_args(argv)
    training = Training(args, stop)
    code = finish(training.run, training.report)
    if os.environ.get("RANK_SIZE", "1") != "1":
        from vitmodels.device.runtime import end_quietly

        end_quietly(code)
    return code


class Training:
    """One rank of a training, from the command line to its end."""

    def __init__(self, args: argparse.Namespace, stop: StopSignal | None = None) -> None:
        self.args = args
        self.stop = stop
        self.progress: Progress | None = None

    def report(self, kind: str, text: str) -> None:
        """Append an error to the rank's events."""
        if self.progress is not None:
            self.progress.event("error", kind=kind, text=text)

    def run(self) -> int:
        """Train; returns the exit code."""
        from vitmodels.device.runtime import StopSignal, quiet, read_rank, run_scheduler
        from vitmodels.errors import EXIT_RESUME
        from vitmodels.progress import Progress
        from vitmodels.training.rundirlock import RunDirLock

        quiet()
        stop = self.stop or StopSignal()
        stop.install()
        rank = read_rank(os.environ)
        if rank.scheduler:
            run_scheduler(self.args.device)
            return 0
        recipe = read_recipe(self.args)
        run_dir = run_dir_of(self.args)
        data = data_dir_of(self.args, recipe)
        lock = RunDirLock(run_dir) if rank.first else None
        try:
            self.progress = Progress(run_dir, rank.id)
            self.progress.phase("starting")
            return 0 if self._train(recipe, run_dir, data, rank, stop) else EXIT_RESUME
        finally:
            if lock is not None:
                lock.release()

    def _train(self, recipe: Recipe, run_dir: Path, data: Path, rank: Rank, stop: StopSignal) -> bool:
        """Everything that needs MindSpore; returns whether the target epoch was reached."""
        from vitmodels.device.runtime import Group, pick_device

        assert self.progress is not None
        group = Group(rank, pick_device(self.args.device, recipe.device_target), recipe.cpu_threads)
        stop.install()
        from vitmodels.training.assemble import assemble_loop
        from vitmodels.training.profiling import Window

        loop = assemble_loop(
            recipe,
            data,
            run_dir,
            group,
            self.progress,
            stop.is_received,
            as_pretrained=self.args.resume_as_pretrained,
            strict=self.args.strict,
            window=Window.of(self.args.profile_steps, self.args.profile_ranks, os.environ),
        )
        return loop.run()


if __name__ == "__main__":
    end(main())
