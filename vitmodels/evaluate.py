"""Top-1 and Top-5 of weights or of an exported file over the whole validation part.

    python -m vitmodels.evaluate --config RECIPE --data DIR --run-dir DIR [--checkpoint WEIGHTS | --exported FILE]
    python -m vitmodels.evaluate --weights FILE --data DIR

Every image counts exactly once, at any number of ranks. The result goes to eval/checkpoint.json, or to eval/<format>.json
for an exported file, in the run directory (with --weights FILE: by default the current one). Exit codes: 0 done, 2
wrong usage or recipe, 130 stopped by Ctrl-C, 1 else.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitmodels.program import (
    add_strict_option,
    add_weights_options,
    common_parser,
    data_dir_of,
    end,
    finish,
    read_recipe,
    run_dir_of,
    say,
)

if TYPE_CHECKING:
    from vitmodels.config import Recipe
    from vitmodels.device.runtime import Group, Rank
    from vitmodels.images.data import ImageFolder
    from vitmodels.training.scoring import Score
    from vitmodels.training.weightsource import Source


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = common_parser("evaluate", (__doc__ or "").splitlines()[0], config=False)
    what = parser.add_mutually_exclusive_group()
    add_weights_options(parser, what)
    what.add_argument(
        "--exported",
        type=Path,
        metavar="FILE",
        help="an exported file, .mindir or .onnx, in place of a checkpoint",
    )
    add_strict_option(parser)
    args = parser.parse_args(argv)
    code = finish(lambda: _run(args))
    if os.environ.get("RANK_SIZE", "1") != "1":
        from vitmodels.device.runtime import end_quietly

        end_quietly(code)
    return code


def _run(args: argparse.Namespace) -> int:
    from vitmodels.device.runtime import quiet, read_rank, run_scheduler
    from vitmodels.errors import UsageError
    from vitmodels.training.weightsource import find_source, recipe_of

    quiet()
    rank = read_rank(os.environ)
    if rank.scheduler:
        run_scheduler(args.device)
        return 0
    if args.exported and not args.config:
        raise UsageError("an exported file needs its recipe", hint="add --config RECIPE")
    run_dir = run_dir_of(args, None if args.exported or args.checkpoint in ("latest", "best") else Path())
    source = None
    if not args.exported:
        source = find_source(
            args.checkpoint, run_dir, parameters=args.parameters, allow_older=args.allow_older
        )
        for one in source.skipped:
            sys.stderr.write(f"warning: {one}\n")
    recipe = recipe_of(source, args.overrides) if source and not args.config else read_recipe(args)
    if args.exported:
        from vitmodels.exported.index import check_side, entry_of

        check_side(entry_of(args.exported), recipe.side, args.exported)
    result = _evaluate(args, recipe, run_dir, source, rank)
    if rank.first:
        _write(result, run_dir, args.exported)
    return 0


def _evaluate(
    args: argparse.Namespace, recipe: Recipe, run_dir: Path, source: Source | None, rank: Rank
) -> dict[str, Any]:
    """Everything that needs MindSpore: the content of the result file."""
    from vitmodels.device.compilecache import seal, separate_cache
    from vitmodels.device.runtime import Group, pick_device
    from vitmodels.exported.index import classes_of
    from vitmodels.progress import Progress
    from vitmodels.training.assemble import open_val
    from vitmodels.training.scoring import score_facts

    data = data_dir_of(args, recipe)
    progress = Progress(run_dir, rank.id)
    progress.phase("evaluating")
    group = Group(rank, pick_device(args.device, recipe.device_target))
    about = {"device": group.device, "rank": rank.id, "ranks": rank.size, "exported": source is None}
    known = (source.classes if source else classes_of(args.exported)).numbered(recipe.class_order)
    folder, account = open_val(recipe, data, known, strict=args.strict)
    progress.event("data", **account.as_dict())
    for text in account.lines() if rank.first else []:
        say(text)
    cache = separate_cache("evaluate", {**recipe.json_dict(), **about})
    if source is None:
        predict, facts = _exported(args.exported, recipe, run_dir)
    else:
        predict, facts = _predictor(source, recipe), source.facts(run_dir)
    result = {**score_facts(_score(predict, recipe, folder, group), folder, account), **facts}
    seal(cache)
    progress.event("eval", **{key: result[key] for key in ("epoch", "step", "top1", "top5", "images")})
    return result


def _score(predict: Any, recipe: Recipe, folder: ImageFolder, group: Group) -> Score:
    from vitmodels.training.assemble import open_images
    from vitmodels.training.scoring import score

    batch = recipe.eval_batch_size or recipe.batch_size
    images = open_images(folder, recipe, train=False, batch=batch, note=say)
    try:
        return score(predict, images, batch, group)
    finally:
        images.close()


def _predictor(source: Source, recipe: Recipe) -> Any:
    """A function from uint8 images to logits, with these weights."""
    from vitmodels.nets.weights import load_converted
    from vitmodels.training.assemble import Predictor, build_model

    model = build_model(recipe)
    for note in load_converted(model, source.weights, whole=True):
        say(note)
    return Predictor(model, recipe)


def _exported(path: Path, recipe: Recipe, run_dir: Path) -> tuple[Any, dict[str, Any]]:
    """A function from uint8 images to logits, and what export.json says of the file."""
    from vitmodels.exported.engines import load_exported
    from vitmodels.exported.index import entry_of
    from vitmodels.exported.prepare import FromBytes

    predict = FromBytes(load_exported(path), recipe.mean, recipe.std)
    entry = entry_of(path)
    facts = {
        "source": path.suffix.lstrip(".").upper(),
        "file": os.path.relpath(path, run_dir),
        "step": entry.get("step"),
        "epoch": None,
        "parameters": entry.get("parameters"),
        "skipped": entry.get("skipped", []),
    }
    return predict, facts


def _write(result: dict[str, Any], run_dir: Path, exported: Path | None) -> None:
    from vitmodels.progress import write_json

    name = "checkpoint" if exported is None else exported.suffix.lstrip(".")
    write_json(run_dir / "eval" / f"{name}.json", result)
    kind = f", {result['parameters']} parameters" if result["parameters"] else ""
    say(
        f"{result['source']} {result['file']}{kind}: "
        f"top1 {result['top1']:.4f}  top5 {result['top5']:.4f}  {result['images']} images"
    )


if __name__ == "__main__":
    end(main())
