"""Write a net with trained weights as MINDIR, ONNX or AIR.

    python -m vitmodels.export --config RECIPE --run-dir DIR --format MINDIR,ONNX
    python -m vitmodels.export --weights FILE --format MINDIR
    python -m vitmodels.export --config RECIPE --run-dir DIR --format ONNX --int8 DATA

The files and export.json, which lists them, go to export/ in the run directory (with --weights FILE: by default the
current one).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vitmodels.program import add_weights_options, common_parser, end, finish, read_recipe, run_dir_of, say

if TYPE_CHECKING:
    import argparse

    from vitmodels.config import Recipe
    from vitmodels.exported.index import Exported
    from vitmodels.progress import Progress
    from vitmodels.training.weightsource import Source

KEPT = ("mean", "std", "crop_pct", "interpolation")


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = common_parser("export", (__doc__ or "").splitlines()[0], data=False, config=False)
    add_weights_options(parser, parser)
    parser.add_argument(
        "--format", default="MINDIR", metavar="FORMATS", help="MINDIR,ONNX,AIR; default: MINDIR"
    )
    parser.add_argument(
        "--batch", type=int, default=1, help="batch of AIR, which has a fixed one (default: 1)"
    )
    parser.add_argument(
        "--int8",
        type=Path,
        metavar="DATA",
        help="write ARCH.int8.onnx, too, and its drop in top-1 on the class folders in DATA (or DATA/val) to export.json",
    )
    args = parser.parse_args(argv)
    return finish(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    from vitmodels.device.compilecache import seal, separate_cache
    from vitmodels.device.runtime import Group, Rank, pick_device, quiet, read_rank
    from vitmodels.errors import UsageError
    from vitmodels.exported.write import parse_formats
    from vitmodels.progress import Progress
    from vitmodels.training.weightsource import find_source, recipe_of

    quiet()
    formats = parse_formats(args.format)
    _check_int8(args, formats)
    if args.batch < 1:
        raise UsageError(f"--batch {args.batch} is not a positive number")
    rank = read_rank(os.environ)
    if rank.scheduler or not rank.first:
        return 0  # one rank writes
    run_dir = run_dir_of(args, None if args.checkpoint in ("latest", "best") else Path())
    source = find_source(args.checkpoint, run_dir, parameters=args.parameters, allow_older=args.allow_older)
    for skipped in source.skipped:
        sys.stderr.write(f"warning: {skipped}\n")
    recipe = read_recipe(args) if args.config else recipe_of(source, args.overrides)
    progress = Progress(run_dir, rank.id)
    progress.phase("exporting")
    cache = separate_cache("export", {**recipe.json_dict(), "formats": formats, "batch": args.batch})
    Group(Rank(device_id=rank.device_id), pick_device(args.device, recipe.device_target))
    for one in _export(args, recipe, source, run_dir, formats):
        progress.event("export", file=f"export/{one.name}", format=one.format)
        origin = f"step {one.step}" if one.step is not None else str(source.path)
        kind = f", {one.parameters} parameters" if one.parameters else ""
        say(f"wrote export/{one.name}: {one.format}, {one.size / 2**20:.1f} MiB, {origin}{kind}")
        if args.int8 is not None and one.format == "ONNX":
            _quantise(run_dir / "export", one, args.int8, progress)
    seal(cache)
    return 0


def _check_int8(args: argparse.Namespace, formats: tuple[str, ...]) -> None:
    """Raises UsageError where --int8 has no ONNX file to quantise, and DataError where its images have no labels."""
    from vitmodels.errors import UsageError
    from vitmodels.exported.prepare import find_images
    from vitmodels.exported.quantise import check_labels

    if args.int8 is None:
        return
    if "ONNX" not in formats:
        raise UsageError(
            f"--int8 quantises the ONNX file, but --format is {args.format}", hint="add ONNX to --format"
        )
    check_labels(find_images(args.int8))


def _quantise(folder: Path, exported: Exported, data: Path, progress: Progress) -> None:
    from vitmodels.exported.index import classes_of
    from vitmodels.exported.prepare import find_images
    from vitmodels.exported.quantise import export_int8

    images = find_images(data, classes_of(folder / exported.name), exported.num_classes)
    one, drop = export_int8(folder, exported, images)
    progress.event("export", file=f"export/{one.name}", format=one.format)
    say(
        f"wrote export/{one.name}: {one.format} in int8, {one.size / 2**20:.1f} MiB, top-1 {drop.top1_int8:.2%} "
        f"on {drop.images} images, {drop.top1_float32:.2%} in float32"
    )


def _export(
    args: argparse.Namespace, recipe: Recipe, source: Source, run_dir: Path, formats: tuple[str, ...]
) -> list[Exported]:
    from vitmodels.exported.write import export_model
    from vitmodels.nets.weights import load_converted
    from vitmodels.training.assemble import build_model

    if recipe.amp_level == "bf16":  # unknown to most runtimes of exported files
        recipe = recipe.model_copy(update={"amp_level": "O0"})
    model = build_model(recipe, operators="mindspore")
    for note in load_converted(model, source.weights, whole=True):
        say(note)
    facts = source.facts(run_dir)
    return export_model(
        model,
        recipe.arch,
        run_dir / "export",
        formats,
        step=facts["step"],
        batch=args.batch,
        preprocess={key: value for key, value in recipe.json_dict().items() if key in KEPT},
        parameters=source.parameters,
        skipped=facts["skipped"],
        about={
            "image_size": recipe.side,
            "num_classes": recipe.num_classes,
            **source.classes.numbered(recipe.class_order).as_dict(),
        },
    )


if __name__ == "__main__":
    end(main())
