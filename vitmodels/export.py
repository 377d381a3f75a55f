"""Write a trained model as MINDIR, ONNX or AIR, and read such a file back as a function.

    python -m vitmodels.export --config RECIPE --run-dir DIR --format MINDIR,ONNX

A file appears under its final name only when it is complete, and others may read it. MINDIR keeps the batch
open; MindSpore writes ONNX with a fixed one. AIR can be written only where an Ascend NPU is.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vitmodels.engines import first_line, load_exported
from vitmodels.errors import ExportError, NotSupported, UsageError

if TYPE_CHECKING:
    import argparse

    from mindspore import nn

SUFFIXES = {"MINDIR": ".mindir", "ONNX": ".onnx", "AIR": ".air"}
INDEX = "export.json"

Shape = tuple[int | None, int, int, int]

__all__ = ["Exported", "export_model", "load_exported", "parse_formats", "read_index"]


@dataclass(frozen=True)
class Exported:
    """One written file. `input_shape` has None for an open batch; `preprocess` says how images are prepared."""

    name: str
    format: str
    size: int
    sha256: str
    input_shape: Shape
    step: int
    preprocess: dict[str, Any]


def parse_formats(text: str) -> tuple[str, ...]:
    """`MINDIR,ONNX` as names, each once. Raises UsageError."""
    names = tuple(dict.fromkeys(part.strip().upper() for part in text.split(",") if part.strip()))
    unknown = [name for name in names if name not in SUFFIXES]
    if unknown or not names:
        raise UsageError(
            f"unknown export format {', '.join(unknown) or repr(text)}, known: {', '.join(SUFFIXES)}"
        )
    return names


def export_model(
    model: nn.Cell,
    arch: str,
    folder: Path,
    formats: Sequence[str],
    *,
    step: int = 0,
    batch: int = 1,
    preprocess: Mapping[str, Any] | None = None,
) -> list[Exported]:
    """Write `<folder>/<arch>.<suffix>` in each format, then export.json, which lists all files in the folder.

    `batch` is the fixed batch of the formats that need one (ONNX, AIR). `preprocess` (mean, std, crop_pct,
    interpolation) is kept in export.json for whoever runs the file. From now on `model` computes with MindSpore's
    own operators, which a file can hold. Raises ExportError and NotSupported.
    """
    from vitmodels.device.compat import compose, on_ascend

    if "AIR" in formats and not on_ascend():
        raise NotSupported(
            "AIR can be exported only on a machine with an Ascend NPU",
            hint="export MINDIR here, or run on Ascend",
        )
    compose(model)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in formats:
        shape = (None if name == "MINDIR" else batch, 3, model.config.image_size, model.config.image_size)
        path = _export_one(model, arch, folder, name, shape)
        size, digest = path.stat().st_size, _sha256(path)
        written.append(Exported(path.name, name, size, digest, shape, step, dict(preprocess or {})))
    _write_index(folder, written)
    return written


def _export_one(model: nn.Cell, arch: str, folder: Path, name: str, shape: Shape) -> Path:
    """Write one file under a temporary name, then give it its own."""
    import mindspore as ms

    temp = folder / f".tmp-{arch}-{name.lower()}-{os.getpid()}"
    shutil.rmtree(temp, ignore_errors=True)
    temp.mkdir()
    try:
        model.set_train(False)
        example = (
            ms.Tensor(shape=list(shape), dtype=ms.float32)
            if shape[0] is None
            else ms.Tensor(np.zeros([size or 1 for size in shape], np.float32))
        )
        ms.export(model, example, file_name=str(temp / arch), file_format=name)
        target = temp / f"{arch}{SUFFIXES[name]}"
        parts = sorted(path for path in temp.rglob("*") if path.is_file())
        if parts != [target] or not target.stat().st_size:
            raise ExportError(f"{name} export wrote {[path.name for path in parts]}, expected one file")
        return _commit(target, folder)
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        raise ExportError(f"can't export {arch} as {name}: {first_line(error)}") from error
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def _commit(source: Path, folder: Path) -> Path:
    """Make the file readable, put it on disk, and give it its final name."""
    source.chmod(0o644)
    with source.open("rb") as file:
        os.fsync(file.fileno())
    return source.replace(folder / source.name)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_index(folder: Path, written: Sequence[Exported]) -> None:
    """Add files to export.json; an entry of an earlier export stays while its file does."""
    from vitmodels.progress import write_json

    entries = {entry["name"]: entry for entry in read_index(folder) if (folder / entry["name"]).is_file()}
    entries.update({one.name: asdict(one) for one in written})
    write_json(folder / INDEX, {"files": [entries[name] for name in sorted(entries)]})


def read_index(folder: Path) -> list[dict[str, Any]]:
    """The entries of export.json; none when there is no such file or it can't be read."""
    try:
        return list(json.loads((folder / INDEX).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


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
    found = find_set(run_dir, args.checkpoint)
    progress = Progress(run_dir, rank.id)
    progress.phase("exporting")
    cache = separate_cache("export", {**recipe.json_dict(), "formats": formats, "batch": args.batch})
    Group(Rank(device_id=rank.device_id), pick_device(args.device, recipe.device_target))

    from vitmodels.nets.weights import load_weights
    from vitmodels.training.assemble import build_model

    model = build_model(recipe)
    load_weights(model, found.weights())
    keep = ("mean", "std", "crop_pct", "interpolation")
    preprocess = {key: value for key, value in recipe.json_dict().items() if key in keep}
    for one in export_model(
        model,
        recipe.arch,
        run_dir / "export",
        formats,
        step=found.step,
        batch=args.batch,
        preprocess=preprocess,
    ):
        progress.event("export", file=f"export/{one.name}", format=one.format)
        say(f"wrote export/{one.name}: {one.format}, {one.size / 2**20:.1f} MiB, step {one.step}")
    seal(cache)
    return 0


if __name__ == "__main__":
    sys.exit(main())
