"""Top-1 and Top-5 of a checkpoint or an exported file over the whole validation part.

    python -m vitmodels.evaluate --config RECIPE --data DIR --run-dir DIR [--checkpoint latest|best|PATH] [--exported FILE]

Every image counts exactly once, at any number of ranks. The result goes to eval/checkpoint.json, or to eval/<format>.json
for an exported file. Exit codes: 0 done, 2 wrong usage or recipe, 1 else.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from vitmodels.config import Recipe
from vitmodels.device.compilecache import seal, separate_cache
from vitmodels.device.runtime import Group, pick_device, quiet, read_rank, silence_exit
from vitmodels.program import common_parser, data_dir_of, finish, read_recipe, run_dir_of, say
from vitmodels.progress import Progress, write_json


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    quiet()
    parser = common_parser("evaluate", (__doc__ or "").splitlines()[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--checkpoint", default="latest", metavar="latest|best|PATH", help="default: latest")
    what.add_argument(
        "--exported",
        type=Path,
        metavar="FILE",
        help="an exported file, .mindir or .onnx, in place of a checkpoint",
    )
    args = parser.parse_args(argv)
    code = finish(lambda: _run(args))
    if os.environ.get("RANK_SIZE", "1") != "1":
        silence_exit()
    return code


def _run(args: argparse.Namespace) -> int:
    rank = read_rank(os.environ)
    if rank.scheduler:
        from vitmodels.device.runtime import run_scheduler

        run_scheduler(args.device)
        return 0
    recipe = read_recipe(args)
    run_dir = run_dir_of(args)
    data = data_dir_of(args, recipe)
    progress = Progress(run_dir, rank.id)
    progress.phase("evaluating")
    group = Group(rank, pick_device(args.device, recipe.device_target))
    about = {
        "device": group.device,
        "rank": rank.id,
        "ranks": rank.size,
        "exported": args.exported is not None,
    }
    cache = separate_cache("evaluate", {**recipe.json_dict(), **about})
    result = _evaluate(args, recipe, run_dir, data, group)
    seal(cache)
    progress.event("eval", **{key: result[key] for key in ("epoch", "step", "top1", "top5", "images")})
    if rank.first:
        name = "checkpoint" if args.exported is None else args.exported.suffix.lstrip(".")
        write_json(run_dir / "eval" / f"{name}.json", result)
        say(
            f"{result['source']} {result['file']}: top1 {result['top1']:.4f}  top5 {result['top5']:.4f}  {result['images']} images"
        )
    return 0


def _evaluate(
    args: argparse.Namespace, recipe: Recipe, run_dir: Path, data: Path, group: Group
) -> dict[str, Any]:
    """Everything that needs MindSpore: the content of the result file."""
    from vitmodels.training.assemble import open_images, open_split
    from vitmodels.training.scoring import score

    predict, about = (
        _exported(args.exported, recipe, run_dir)
        if args.exported
        else _checkpoint(args.checkpoint, recipe, run_dir)
    )
    batch = recipe.eval_batch_size or recipe.batch_size
    images = open_images(open_split(recipe, data, "val"), recipe, train=False, batch=batch, note=say)
    result = score(predict, images, batch, group)
    images.close()
    return {**result.as_dict(), **about}


def _checkpoint(which: str, recipe: Recipe, run_dir: Path) -> tuple[Any, dict[str, Any]]:
    from vitmodels.nets.weights import load_weights
    from vitmodels.training.assemble import Predictor, build_model
    from vitmodels.training.checkpoint import find_set

    checkpoint = find_set(run_dir, which)
    model = build_model(recipe)
    load_weights(model, checkpoint.weights())
    file = os.path.relpath(checkpoint.path, run_dir)
    return Predictor(model, recipe), {
        "source": "checkpoint",
        "file": file,
        "step": checkpoint.step,
        "epoch": checkpoint.epoch,
    }


def _exported(path: Path, recipe: Recipe, run_dir: Path) -> tuple[Any, dict[str, Any]]:
    """A function from uint8 images to logits: an exported file takes them normalised."""
    import numpy as np

    from vitmodels.exported.engines import load_exported
    from vitmodels.exported.index import read_index

    run = load_exported(path)
    scale = (1.0 / (255.0 * np.array(recipe.std))).astype(np.float32)
    offset = (-np.array(recipe.mean) / np.array(recipe.std)).astype(np.float32)

    def predict(images: np.ndarray) -> np.ndarray:
        normalised = images.astype(np.float32) * scale + offset  # (B, H, W, 3)
        return run(np.ascontiguousarray(normalised.transpose(0, 3, 1, 2)))  # (B, 3, H, W) -> (B, classes)

    step = next(
        (entry.get("step") for entry in read_index(path.parent) if entry.get("name") == path.name), None
    )
    source = path.suffix.lstrip(".").upper()
    return predict, {"source": source, "file": os.path.relpath(path, run_dir), "step": step, "epoch": None}


if __name__ == "__main__":
    sys.exit(main())
