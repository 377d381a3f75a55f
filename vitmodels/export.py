"""Write a trained model as MINDIR, ONNX or AIR.

    python -m vitmodels.export --config RECIPE --run-dir DIR --format MINDIR,ONNX

The files and export.json, which lists them, go to <run dir>/export.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from vitmodels.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from vitmodels.config import Recipe
    from vitmodels.nets.tnt import TNT
    from vitmodels.nets.vit import ViT
    from vitmodels.training.checkpoint import CheckpointSet


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    from vitmodels.device.runtime import quiet
    from vitmodels.program import common_parser, finish

    quiet()
    parser = common_parser("export", (__doc__ or "").splitlines()[0], data=False)
    parser.add_argument("--checkpoint", default="latest", metavar="latest|best|PATH", help="default: latest")
    parser.add_argument(
        "--format", default="MINDIR", metavar="FORMATS", help="MINDIR,ONNX,AIR; default: MINDIR"
    )
    parser.add_argument(
        "--batch", type=int, default=1, help="batch of formats that need a fixed one (default: 1)"
    )
    args = parser.parse_args(argv)
    return finish(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    from vitmodels.device.compilecache import seal, separate_cache
    from vitmodels.device.runtime import Group, Rank, pick_device, read_rank
    from vitmodels.exported.write import export_model, parse_formats
    from vitmodels.program import read_recipe, run_dir_of, say
    from vitmodels.progress import Progress
    from vitmodels.training.checkpoint import find_set

    formats = parse_formats(args.format)
    if args.batch < 1:
        raise UsageError(f"--batch {args.batch} is not a positive number")
    rank = read_rank(os.environ)
    if rank.scheduler or not rank.first:
        return 0  # one rank writes
    recipe = read_recipe(args)
    run_dir = run_dir_of(args)
    checkpoint = find_set(run_dir, args.checkpoint)
    progress = Progress(run_dir, rank.id)
    progress.phase("exporting")
    cache = separate_cache("export", {**recipe.json_dict(), "formats": formats, "batch": args.batch})
    Group(Rank(device_id=rank.device_id), pick_device(args.device, recipe.device_target))

    model = _model(recipe, checkpoint)
    keep = ("mean", "std", "crop_pct", "interpolation")
    preprocess = {key: value for key, value in recipe.json_dict().items() if key in keep}
    for one in export_model(
        model,
        recipe.arch,
        run_dir / "export",
        formats,
        step=checkpoint.step,
        batch=args.batch,
        preprocess=preprocess,
    ):
        progress.event("export", file=f"export/{one.name}", format=one.format)
        say(f"wrote export/{one.name}: {one.format}, {one.size / 2**20:.1f} MiB, step {one.step}")
    seal(cache)
    return 0


def _model(recipe: Recipe, checkpoint: CheckpointSet) -> TNT | ViT:
    from vitmodels.nets.weights import load_weights
    from vitmodels.training.assemble import build_model

    model = build_model(recipe, operators="mindspore")
    load_weights(model, checkpoint.weights())
    return model


if __name__ == "__main__":
    sys.exit(main())
