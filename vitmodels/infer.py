"""Run an exported model over a folder of images: preprocess, infer, postprocess.

    python -m vitmodels.infer --model export/tnt_s_patch16_224.mindir --data DIR

DIR holds class folders, or val/ with them, and images without labels, or both. The names of the classes and how images are
prepared come from the export.json beside the model, from the model itself, or from a recipe. Each stage checks the counts of the one before.
Results: predictions.csv, unreadable.csv and summary.json in --out. Lines are written as the answers come.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitmodels.program import add_strict_option, end, finish, say, writable_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vitmodels.exported.engines import Engine
    from vitmodels.exported.prepare import Images

ENGINES = ("auto", "mindspore", "mindspore-lite", "onnxruntime", "openvino")


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m vitmodels.infer", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--model", required=True, type=Path, help="a .mindir, .ms or .onnx file")
    parser.add_argument("--data", required=True, type=Path, help="folder of class folders, or of images")
    parser.add_argument(
        "--config", type=Path, metavar="RECIPE", help="recipe that says how images are prepared"
    )
    parser.add_argument("--image-size", type=int, help="side of the input (default: the model's)")
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="default: auto, the first that is installed and reads the file; MindSpore Lite with --device ascend",
    )
    parser.add_argument("--threads", type=int, help="threads of a call on CPU (default: the engine's own)")
    parser.add_argument(
        "--device", choices=("cpu", "ascend"), help="default: Ascend when there is one, else CPU"
    )
    parser.add_argument("--batch", type=int, default=1, help="images a call (default: 1, for latency)")
    add_strict_option(parser)
    parser.add_argument("--out", type=Path, default=Path("infer"), help="folder for results (default: infer)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    args = make_parser().parse_args(argv)
    return finish(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    from vitmodels.device.runtime import quiet
    from vitmodels.errors import UsageError
    from vitmodels.exported.index import entry_of
    from vitmodels.exported.prepare import preparation_of
    from vitmodels.exported.resultfiles import PREDICTIONS, UNREADABLE, ResultFiles, write_summary
    from vitmodels.exported.results import Tally, describe, infer

    quiet()
    if args.batch < 1:
        raise UsageError(f"--batch {args.batch} is not a positive number")
    if args.threads is not None and args.threads < 1:
        raise UsageError(f"--threads {args.threads} is not a positive number")
    how = preparation_of(args.model, args.config, args.image_size)
    entry = entry_of(args.model)
    images = _find_images(args, entry)
    out = writable_folder(args.out)
    engine, name = _open_model(args)
    tally, begin = Tally(), time.monotonic()
    with ResultFiles(out, images.classes) as files:
        for answers in infer(engine, images, how, args.batch):
            tally.add(answers)
            files.write(answers)
        summary = tally.summary(
            args.model.name,
            name,
            images,
            time.monotonic() - begin,
            step=entry.get("step"),
            parameters=entry.get("parameters"),
        )
    write_summary(out, summary)
    for one in tally.first_unreadable[:5]:
        say(f"can't read {one.file}: {one.reason}")
    if tally.unreadable > 5:
        say(f"and {tally.unreadable - 5} more, which {UNREADABLE} names")
    say(describe(summary))
    say(f"predictions in {args.out / PREDICTIONS}")
    return 0


def _find_images(args: argparse.Namespace, entry: Mapping[str, Any]) -> Images:
    """The images, and lines on what is left out and on folders that the model does not know."""
    from vitmodels.exported.prepare import find_images
    from vitmodels.images.classes import Classes

    images = find_images(args.data, Classes.from_dict(entry), entry.get("num_classes"))
    for text in images.account.lines() if images.account else []:
        say(text)
    if images.account and args.strict:
        images.account.check()
    return images


def _open_model(args: argparse.Namespace) -> tuple[Engine, str]:
    from vitmodels.exported.engines import engine_of, load_exported

    engine = engine_of(args.model, args.engine, args.device)
    if engine == "mindspore":
        from vitmodels.device.runtime import Group, Rank, pick_device

        target = pick_device(args.device, None)
        Group(Rank(device_id=int(os.environ.get("DEVICE_ID") or 0)), target, args.threads or 0)
    return load_exported(args.model, engine, args.device or "cpu", args.threads), engine


if __name__ == "__main__":
    end(main())
