"""What a rank shows of its device, for `launcher doctor --prove`: numbers, written to files in the working folder.

python -m vitmodels.prove compute|reduce|step|train|air|fail ...

compute   a matrix product beside numpy's                    -> compute.json
reduce    a sum over all ranks                               -> reduce.json
step      training steps of ARCH:LEVEL, shared among ranks   -> step-ARCH-LEVEL.json
train     vitmodels.train; --die: killed after its first checkpoint, in the first attempt
air       a net of fresh weights, as AIR                     -> tnt_digits.air
fail      asks an NPU for more memory than it has
"""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitmodels.program import end, finish

if TYPE_CHECKING:
    from vitmodels.device.runtime import Group, Rank, StopSignal


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m vitmodels.prove", description=(__doc__ or "").splitlines()[0]
    )
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    for name in ("compute", "air", "fail"):
        _add(parts, name)
    _add(parts, "reduce").add_argument("--elements", type=int, default=1 << 20, metavar="N")
    step = _add(parts, "step")
    step.add_argument("cases", nargs="+", metavar="ARCH:LEVEL")
    step.add_argument("--batch", type=int, default=4, metavar="N", help="images per rank (4)")
    step.add_argument(
        "--timed", type=int, default=0, metavar="N", help="steps to time after the first two (0)"
    )
    step.add_argument("--together", action="store_true", help="all ranks take each case, and share gradients")
    step.add_argument(
        "--operators", choices=("compiled", "mindspore"), help="default: the best of the device"
    )
    train = _add(parts, "train")
    train.add_argument("--die", action="store_true")
    train.add_argument("words", nargs=argparse.REMAINDER, metavar="-- ARGUMENTS of vitmodels.train")
    args = parser.parse_args(argv)
    code = finish(lambda: _run(args))
    if args.part != "train" and os.environ.get("RANK_SIZE", "1") != "1":
        from vitmodels.device.runtime import end_quietly

        end_quietly(code)
    return code


def _add(parts: Any, name: str) -> argparse.ArgumentParser:
    part: argparse.ArgumentParser = parts.add_parser(name)
    if name != "train":
        part.add_argument("--device", choices=("cpu", "ascend"))
    return part


def _run(args: argparse.Namespace) -> int:
    if args.part == "train":
        return _train(args)
    from dataclasses import replace

    from vitmodels.device.runtime import Group, pick_device, read_rank, run_scheduler

    rank = read_rank(os.environ)
    if rank.scheduler:
        run_scheduler(args.device)
        return 0
    joined = args.part == "reduce" or (args.part == "step" and args.together)
    group = Group(rank if joined else replace(rank, size=1, id=0), pick_device(args.device, None))
    _prove(args, rank, group)
    group.settle()
    return 0


def _prove(args: argparse.Namespace, rank: Rank, group: Group) -> None:
    from vitmodels.proofs import device

    if args.part == "compute":
        _write("compute", device.compute(group))
    elif args.part == "reduce":
        _write("reduce", device.reduce(group, args.elements))
    elif args.part == "air":
        device.export_air(Path())
    elif args.part == "fail":
        device.fail(group)
    else:
        shared = args.cases if args.together else args.cases[rank.id :: rank.size]
        for case in shared:
            _step(args, case, group)


def _step(args: argparse.Namespace, case: str, group: Group) -> None:
    """A case that fails says so in its file, and the next one follows."""
    from vitmodels.proofs.step import Case, take_steps

    arch, _, level = case.partition(":")
    try:
        result = take_steps(Case(arch, level, args.batch, args.timed, args.operators), group)
    except Exception as error:  # a compiler's error of one precision says nothing about the next one
        result = {"error": f"{type(error).__name__}: {error}"[:2000]}
    _write(f"step-{arch}-{level}", result)


def _write(name: str, result: dict[str, Any]) -> None:
    from vitmodels.progress import write_json

    write_json(Path(f"{name}.json"), result)


def _train(args: argparse.Namespace) -> int:
    from vitmodels.train import main as train

    words = [word for word in args.words if word != "--"]
    if args.die and os.environ.get("LAUNCHER_ATTEMPT") == "1":
        return train(words, stop=_death())
    return train(words)


def _death() -> StopSignal:
    from vitmodels.device.runtime import StopSignal
    from vitmodels.training.checkpoint import list_sets

    class Death(StopSignal):
        """Kills this process between two steps, once there is a checkpoint."""

        def is_received(self) -> bool:
            if list_sets(Path(os.environ["LAUNCHER_RUN_DIR"]) / "checkpoints"):
                os.kill(os.getpid(), signal.SIGKILL)
            return super().is_received()

    return Death()


if __name__ == "__main__":
    end(main())
